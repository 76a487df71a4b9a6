//! Which frames of a film become a clip: a random place in training, even places otherwise.

use super::timeline::Timeline;
use crate::config::Sampling;
use crate::random::Stream;

/// The `frames` frames of a clip that begins at a random place, each as likely; numbers into `timeline`, ascending.
///
/// A film that is too short for a clip is shown from its start, and its last frame stays.
pub fn random_clip(sampling: &Sampling, frames: usize, timeline: &Timeline, stream: &mut Stream) -> Vec<usize> {
    match Room::of(sampling, frames, timeline) {
        Room::Frames(room) => by_stride(sampling, frames, timeline, stream.below(room + 1)),
        Room::Seconds(room) => by_time(sampling, frames, timeline, stream.unit() * room),
    }
}

/// The frames of `sampling.clips` clips of `frames` frames each: the first begins with the film, the last ends with it, one is in the middle.
pub fn spread_clips(sampling: &Sampling, frames: usize, timeline: &Timeline) -> Vec<Vec<usize>> {
    let share = |clip: usize| match sampling.clips {
        ..2 => 0.5,
        clips => clip as f64 / (clips - 1) as f64,
    };
    let room = Room::of(sampling, frames, timeline);
    let clip = |clip| match room {
        Room::Frames(room) => by_stride(sampling, frames, timeline, (room as f64 * share(clip)).round() as usize),
        Room::Seconds(room) => by_time(sampling, frames, timeline, room * share(clip)),
    };
    (0..sampling.clips.max(1)).map(clip).collect()
}

/// How much later than the film a clip can begin.
#[derive(Clone, Copy)]
enum Room {
    Frames(usize),
    Seconds(f64),
}

impl Room {
    fn of(sampling: &Sampling, frames: usize, timeline: &Timeline) -> Self {
        let steps = frames.max(1) - 1;
        if sampling.fps > 0.0 {
            let length = timeline.time(timeline.len().saturating_sub(1)) - timeline.time(0);
            return Self::Seconds((length - steps as f64 / sampling.fps).max(0.0));
        }
        Self::Frames(timeline.len().saturating_sub(steps * sampling.stride + 1))
    }
}

fn by_stride(sampling: &Sampling, frames: usize, timeline: &Timeline, start: usize) -> Vec<usize> {
    let last = timeline.len().saturating_sub(1);
    (0..frames).map(|i| (start + i * sampling.stride).min(last)).collect()
}

fn by_time(sampling: &Sampling, frames: usize, timeline: &Timeline, start: f64) -> Vec<usize> {
    let start = timeline.time(0) + start;
    (0..frames).map(|i| timeline.at(start + i as f64 / sampling.fps)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Sample;
    use crate::random::Purpose;

    const RECIPE: Sampling = Sampling { stride: 4, fps: 0.0, clips: 8, views: 3 };

    #[test]
    fn clips_are_spread_from_the_first_frame_to_the_last() {
        let firsts_and_lasts = |sampling: Sampling, len| {
            let clips = spread_clips(&sampling, 16, &Timeline::even(len, 25.0));
            clips.iter().map(|clip| (clip[0], clip[clip.len() - 1])).collect::<Vec<_>>()
        };
        let eight = firsts_and_lasts(RECIPE, 300);
        assert_eq!((eight.len(), eight[0], eight[7]), (8, (0, 60), (239, 299)));
        assert_eq!(firsts_and_lasts(Sampling { clips: 1, ..RECIPE }, 161), [(50, 110)]);
        // At 5 frames a second a clip takes 3 seconds, here 75 frames.
        let by_time = Sampling { fps: 5.0, clips: 2, ..RECIPE };
        assert_eq!(firsts_and_lasts(by_time, 301), [(0, 75), (225, 300)]);
    }

    #[test]
    fn a_film_that_is_too_short_ends_with_its_last_frame() {
        let short = Timeline::even(5, 25.0);
        let sampling = Sampling { stride: 2, clips: 2, ..RECIPE };
        assert_eq!(spread_clips(&sampling, 4, &short), [[0, 2, 4, 4], [0, 2, 4, 4]]);
        assert_eq!(spread_clips(&Sampling { fps: 12.5, clips: 1, ..sampling }, 4, &short), [[0, 2, 4, 4]]);
        let mut stream = Stream::new(0, 0, 0, Purpose::Clip);
        assert_eq!(random_clip(&RECIPE, 16, &Timeline::even(1, 25.0), &mut stream), [0; 16]);
    }

    #[test]
    fn time_counts_where_frames_come_unevenly() {
        // Ten frames in the first second, then one a second.
        let times = (0..10).map(|i| f64::from(i) / 10.0).chain((1..5).map(f64::from)).collect();
        let timeline = Timeline::new(times, vec![0.0], 0.0);
        let sampling = Sampling { fps: 1.0, clips: 1, ..RECIPE };
        assert_eq!(spread_clips(&sampling, 5, &timeline), [[0, 10, 11, 12, 13]]);
    }

    #[test]
    fn every_place_of_a_training_clip_is_as_likely_and_decided_by_seed_epoch_and_sample() {
        /// 1,000 for each of the 40 places.
        const DRAWS: u64 = 40_000;
        let timeline = Timeline::even(100, 25.0);
        for sampling in [RECIPE, Sampling { fps: 6.25, ..RECIPE }] {
            let mut places = vec![0.0; 40];
            for epoch in 0..DRAWS {
                let draw = || random_clip(&sampling, 16, &timeline, &mut Stream::new(7, epoch, 3, Purpose::Clip));
                let clip = draw();
                assert!(clip == draw() && clip.windows(2).all(|pair| pair[1] - pair[0] == 4), "{clip:?}");
                places[clip[0]] += 1.0 / DRAWS as f64;
            }
            // By time the last place, at which the film is just long enough, is never begun at.
            let expected =
                if sampling.fps > 0.0 { [vec![1.0 / 39.0; 39], vec![0.0]].concat() } else { vec![1.0 / 40.0; 40] };
            assert_eq!(Sample::shares("places", places, expected, DRAWS as f64).problem(), None);
        }
    }
}
