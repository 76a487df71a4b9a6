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
    insta::assert_snapshot!(answers.join("\n\n"), @r"
    optim.warmup_epochs=2
    error: the configuration animals28 cannot work: optim.warmup_epochs = 2 is not shorter than the run of optim.epochs = 2 and its schedule
      help: `anyjepa inspect animals28` shows values that work
    exit code 2

    optim.warmup_epochs=1.99 train.batch=16
    animals28: 16 pictures, on cpu
     WARN the run stops at 50 % of its schedules (optim.schedule_scale)
    error: the time is over after step 0 of 2
      help: the same command continues the run where it stands
    exit code 75

    mask.target_scale=[0.9, 1.0] mask.min_keep=8
    animals28: 16 pictures, on cpu
    error: this recipe cannot work: the grid of 4x4 tokens is too small for its masks: in 100 % of the images the context must show targets to keep more than mask.min_keep = 8 tokens (mask.target_scale, mask.targets)
      help: `anyjepa plan` and `anyjepa masks` show what a recipe comes to
    exit code 2

    optim.schedule_scale=1.25
    animals28: 16 pictures, on cpu
     WARN the run stops at 80 % of its schedules (optim.schedule_scale)
    error: the time is over after step 0 of 8
      help: the same command continues the run where it stands
    exit code 75

    optim.schedule_scale=1
    animals28: 16 pictures, on cpu
    error: the time is over after step 0 of 8
      help: the same command continues the run where it stands
    exit code 75
    ");
}
