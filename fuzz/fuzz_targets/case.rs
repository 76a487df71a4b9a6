//! A parity case: a folder of configuration and tensors, and what is compared with them.
#![no_main]

use anyjepa_fuzz::case;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| case(bytes));
