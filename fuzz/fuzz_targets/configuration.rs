//! A configuration's text: as a run's own file, as a user's file over a preset, and as `--set` writes it.
#![no_main]

use anyjepa_fuzz::configuration;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| configuration(bytes));
