//! Whether tests use a Vulkan adapter: always, but where `ANYJEPA_TEST_GPU=skip` tells them to do without.

use std::io::Write as _;

/// Says `text` past the test harness, which keeps what passing tests print.
pub fn say(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Says by name what is left out where tests are to do without an adapter; `left_out` reads like "no shader was run".
pub fn wanted(left_out: &str) -> bool {
    let skip = std::env::var("ANYJEPA_TEST_GPU").is_ok_and(|value| value == "skip");
    if skip {
        say(&format!("SKIPPED: ANYJEPA_TEST_GPU=skip, so {left_out}"));
    }
    !skip
}
