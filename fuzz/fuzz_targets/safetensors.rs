//! A safetensors file: its header, every tensor, and an encoder in it.
#![no_main]

use anyjepa_fuzz::safetensors;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| safetensors(bytes));
