//! A PyTorch file: zip, tar, legacy or plain pickle, every tensor, and an encoder in it.
#![no_main]

use anyjepa_fuzz::pth;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pth(bytes));
