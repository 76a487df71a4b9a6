// One workgroup copies 256 values of the rows of tubelets: channel, frame, row and column within the tubelet.
//
// images [BATCH, CHANNELS, FRAMES, HEIGHT, WIDTH], rows [BATCH, TIMES, ROWS, COLUMNS, CHANNELS, TUBELET, PATCH, PATCH].
// A picture is a clip of one frame, its patches are tubelets of one.
#ifdef F16_RESULT
enable f16;
#endif
#import shared/stored

override BATCH: u32;
override CHANNELS: u32;
override FRAMES: u32;
override HEIGHT: u32;
override WIDTH: u32;
override TUBELET: u32;
override PATCH: u32;
override TIMES: u32 = FRAMES / TUBELET;
override ROWS: u32 = HEIGHT / PATCH;
override COLUMNS: u32 = WIDTH / PATCH;
override AREA: u32 = PATCH * PATCH;

@group(0) @binding(0) var<storage, read> images: array<f32>;
@group(0) @binding(1) var<storage, read_write> rows: array<Result>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) tile: vec3u,
    @builtin(num_workgroups) tiles: vec3u,
    @builtin(local_invocation_index) place: u32,
) {
    let at = (tile.y * tiles.x + tile.x) * 256u + place;
    if at >= BATCH * TIMES * ROWS * COLUMNS * CHANNELS * TUBELET * AREA {
        return;
    }
    let within = vec3u(at % PATCH, at / PATCH % PATCH, at / AREA % TUBELET);
    let channel = at / (AREA * TUBELET) % CHANNELS;
    let token = at / (AREA * TUBELET * CHANNELS);
    let tubelet = vec3u(token % COLUMNS, token / COLUMNS % ROWS, token / (COLUMNS * ROWS) % TIMES);
    let clip = token / (COLUMNS * ROWS * TIMES);
    let pixel = tubelet * vec3u(PATCH, PATCH, TUBELET) + within;
    let frame = (clip * CHANNELS + channel) * FRAMES + pixel.z;
    rows[at] = Result(images[(frame * HEIGHT + pixel.y) * WIDTH + pixel.x]);
}
