//! A list of pictures or a tar shard: the index, and the pictures that it names.
#![no_main]

use anyjepa_fuzz::pictures;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pictures(bytes));
