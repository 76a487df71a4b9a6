// One workgroup copies 256 values of the rows of patches: channel, row and column within the patch.
//
// images [BATCH, CHANNELS, HEIGHT, WIDTH], rows [BATCH, ROWS, COLUMNS, CHANNELS, PATCH, PATCH].
#ifdef F16_RESULT
enable f16;
#endif
#import shared/stored

override BATCH: u32;
override CHANNELS: u32;
override HEIGHT: u32;
override WIDTH: u32;
override PATCH: u32;
override ROWS: u32 = HEIGHT / PATCH;
override COLUMNS: u32 = WIDTH / PATCH;

@group(0) @binding(0) var<storage, read> images: array<f32>;
@group(0) @binding(1) var<storage, read_write> rows: array<Result>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) tile: vec3u,
    @builtin(num_workgroups) tiles: vec3u,
    @builtin(local_invocation_index) place: u32,
) {
    let at = (tile.y * tiles.x + tile.x) * 256u + place;
    if at >= BATCH * ROWS * COLUMNS * CHANNELS * PATCH * PATCH {
        return;
    }
    let in_patch = vec2u(at % PATCH, at / PATCH % PATCH);
    let channel = at / (PATCH * PATCH) % CHANNELS;
    let token = at / (PATCH * PATCH * CHANNELS);
    let patch_at = vec2u(token % COLUMNS, token / COLUMNS % ROWS);
    let image = token / (COLUMNS * ROWS);
    let pixel = patch_at * PATCH + in_patch;
    rows[at] = Result(images[((image * CHANNELS + channel) * HEIGHT + pixel.y) * WIDTH + pixel.x]);
}
