//! The generators: fixed for ever, told apart by motion alone, and moved the way their labels say.

use std::f64::consts::FRAC_PI_4;
use std::path::Path;

use super::*;
use crate::chance::Sample;
use crate::data::Dataset;

const KINDS: [&str; 2] = ["synthetic:photopan", "synthetic:sprites"];

fn open(name: &str, split: Split) -> Dataset {
    Dataset::open_split(Path::new(name), split).unwrap()
}

fn film(data: &Dataset, i: usize) -> crate::data::Clip {
    data.clip(i, &(0..SYNTHETIC_FRAMES).collect::<Vec<_>>()).unwrap()
}

#[test]
fn films_are_fixed_for_ever_and_differ_by_seed_part_and_index() {
    let mut seen = std::collections::BTreeMap::new();
    for kind in ["photopan", "sprites"] {
        for (seed, split) in [(0, Split::Train), (0, Split::Test), (1, Split::Train)] {
            let data = open(&format!("{SCHEME}{kind}:{seed}"), split);
            for i in [0, 5] {
                let hash = blake3::hash(&film(&data, i).pixels).to_hex()[..12].to_owned();
                let label = data.label(i).unwrap();
                seen.insert(
                    format!("{kind} {seed} {}", data.name(i)),
                    format!("{hash} {}", DIRECTIONS[label as usize]),
                );
            }
        }
    }
    let hashes: std::collections::BTreeSet<&String> = seen.values().collect();
    assert_eq!(hashes.len(), seen.len());
    insta::assert_debug_snapshot!(seen);
}

#[test]
fn parts_have_names_labels_and_times() {
    for kind in KINDS {
        let (train, test, all) = (open(kind, Split::Train), open(kind, Split::Test), open(kind, Split::All));
        assert_eq!((train.len(), test.len(), all.len()), (8192, 2048, 10_240));
        assert_eq!(train.classes(), DIRECTIONS);
        assert_eq!(all.name(8192), test.name(0));
        assert_ne!(train.fingerprint(), test.fingerprint());
        assert_ne!(train.fingerprint(), open(&format!("{kind}:3"), Split::Train).fingerprint());
        let clip = train.clip(9, &[0, 4, 15]).unwrap();
        assert_eq!((clip.times, clip.width), (vec![0.0, 0.5, 1.875], SYNTHETIC_SIDE));
        assert_eq!(train.picture(9).unwrap(), film(&train, 9).picture(CENTRE));
    }
    let plain = open("synthetic:photopan", Split::Train);
    assert_eq!(film(&plain, 3), film(&open("synthetic:photopan:0", Split::Train), 3));
}

#[test]
fn every_direction_is_as_likely() {
    for kind in KINDS {
        let data = open(kind, Split::Train);
        let mut shares = vec![0.0; 8];
        for i in 0..data.len() {
            shares[data.label(i).unwrap() as usize] += 1.0 / data.len() as f64;
        }
        assert_eq!(Sample::shares(kind, shares, vec![0.125; 8], data.len() as f64).problem(), None);
    }
}

/// The movement from one frame to the next, to the right and down, by least squares on gradients of light.
fn flow(before: &Picture, after: &Picture) -> [f64; 2] {
    let light = |picture: &Picture, x: usize, y: usize| {
        let pixel = &picture.pixels[(y * picture.width + x) * 3..][..3];
        pixel.iter().map(|level| f64::from(*level)).sum::<f64>() / 3.0
    };
    // Smoothed, so that a step of more than a pixel is still seen in the gradients.
    let smooth = |picture: &Picture, x: usize, y: usize| {
        (x - 2..=x + 2).flat_map(|x| (y - 2..=y + 2).map(move |y| light(picture, x, y))).sum::<f64>() / 25.0
    };
    let (mut xx, mut xy, mut yy, mut xt, mut yt) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for y in (3..SYNTHETIC_SIDE - 3).step_by(2) {
        for x in (3..SYNTHETIC_SIDE - 3).step_by(2) {
            let both = |x, y| smooth(before, x, y) + smooth(after, x, y);
            let (dx, dy) = ((both(x + 1, y) - both(x - 1, y)) / 4.0, (both(x, y + 1) - both(x, y - 1)) / 4.0);
            let dt = smooth(after, x, y) - smooth(before, x, y);
            (xx, xy, yy, xt, yt) = (xx + dx * dx, xy + dx * dy, yy + dy * dy, xt - dx * dt, yt - dy * dt);
        }
    }
    let scale = xx * yy - xy * xy;
    [(xt * yy - yt * xy) / scale, (yt * xx - xt * xy) / scale]
}

/// Which of the eight directions a movement is nearest to.
fn direction([right, down]: [f64; 2]) -> u32 {
    ((-down).atan2(right) / FRAC_PI_4).round().rem_euclid(8.0) as u32
}

#[test]
fn what_is_seen_moves_the_way_the_label_says() {
    const FILMS: usize = 40;
    for kind in KINDS {
        let data = open(kind, Split::Test);
        let mut hits = 0;
        for i in 0..FILMS {
            let film = film(&data, i);
            let mut way = [0.0; 2];
            for t in 4..12 {
                let [right, down] = flow(&film.picture(t), &film.picture(t + 1));
                way = [way[0] + right, way[1] + down];
            }
            hits += usize::from(direction(way) == data.label(i).unwrap());
        }
        // Least squares finds nearly all of them; a label that is mirrored, or turned by a step, leaves two of eight.
        assert!(hits * 10 >= FILMS * 9, "{kind}: {hits} of {FILMS}");
    }
}

#[test]
fn the_middle_of_a_film_does_not_depend_on_its_direction() {
    for generator in [Box::new(sprites::Sprites) as Box<dyn Generator>, Box::new(photopan::Photopan::open().unwrap())] {
        let stream = || Stream::new(3, 1, 4, Purpose::Scene);
        let frame = |direction, at| generator.frame(Motion { direction, speed: 2.25 }, stream(), at);
        let middle = frame(0, CENTRE);
        for direction in 1..8 {
            assert!(frame(direction, CENTRE) == middle);
            assert!(frame(direction, CENTRE + 1) != frame(0, CENTRE + 1));
        }
        // Back at one frame before the middle is forth at one frame after it, the other way.
        assert!((0..4).all(|direction| frame(direction, CENTRE - 1) == frame(direction + 4, CENTRE + 1)));
    }
}

#[test]
fn a_name_that_is_none_has_a_remedy() {
    let mistake = |name: &str| {
        let error = Dataset::open(Path::new(name)).unwrap_err();
        format!("{error}\n{}", error.remedy().unwrap())
    };
    insta::assert_snapshot!([mistake("synthetic:photopen"), mistake("synthetic:x"), mistake("synthetic:sprites:a")].join("\n"), @r"
    there are no synthetic films called photopen
    did you mean synthetic:photopan? they are synthetic:photopan and synthetic:sprites
    there are no synthetic films called x
    they are synthetic:photopan and synthetic:sprites
    the seed of synthetic films is a whole number, found a
    write synthetic:sprites:7, or synthetic:sprites for the seed 0
    ");
}
