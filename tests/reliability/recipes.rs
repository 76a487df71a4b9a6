//! Recipes that cannot work are refused before the first step.

use super::runs::Runs;

#[test]
fn recipes_that_cannot_work_are_refused_before_the_first_step() {
    let runs = Runs::new();
    let answers = [
        &["optim.warmup_epochs=2"][..],
        &["optim.warmup_epochs=1.99", "train.batch=16"],
        &["mask.target_scale=[0.9, 1.0]", "mask.min_keep=8"],
        &["optim.schedule_scale=1.25"],
        &["optim.schedule_scale=1"],
    ]
    .map(|sets| {
        // One that can work ends at once, because its time is over.
        let ended = runs.run(sets[0], "", &[sets, &["--stop-after 0.001s"]].concat());
        assert_eq!(ended.code == Some(2), !runs.at(sets[0]).exists(), "{sets:?}");
        format!("{}\n{}exit code {:?}", sets.join(" "), ended.said, ended.code.unwrap())
    });
    insta::assert_snapshot!(answers.join("\n\n"), @"");
}
