// One workgroup normalises four rows, 64 threads each: mean, then variance about it, then gain and bias.
//
// x [ROWS, DIM] and y [ROWS, STRIDE], written from COLUMN on.
#ifdef F16_RESULT
enable f16;
#endif
#import shared/stored

override ROWS: u32;
override DIM: u32;
override STRIDE: u32;
override COLUMN: u32;
override EPS: f32;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Result>;

var<workgroup> parts: array<array<f32, 64>, 4>;

// The sum of a value of each of the 64 threads of a row.
fn sum(value: f32, row: u32, lane: u32) -> f32 {
    workgroupBarrier();
    parts[row][lane] = value;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            parts[row][lane] += parts[row][lane + half];
        }
    }
    workgroupBarrier();
    return parts[row][0];
}

@compute @workgroup_size(64, 4)
fn main(
    @builtin(workgroup_id) tile: vec3u,
    @builtin(num_workgroups) tiles: vec3u,
    @builtin(local_invocation_id) thread: vec3u,
) {
    let row = (tile.y * tiles.x + tile.x) * 4u + thread.y;
    // Rows beyond the last are read as the last, and never stored.
    let first = min(row, ROWS - 1u) * DIM;
    var part = 0.0;
    for (var i = thread.x; i < DIM; i += 64u) {
        part += x[first + i];
    }
    let mean = sum(part, thread.y, thread.x) / f32(DIM);
    part = 0.0;
    for (var i = thread.x; i < DIM; i += 64u) {
        let from_mean = x[first + i] - mean;
        part = fma(from_mean, from_mean, part);
    }
    let scale = 1.0 / sqrt(sum(part, thread.y, thread.x) / f32(DIM) + EPS);
    if row < ROWS {
        for (var i = thread.x; i < DIM; i += 64u) {
            y[row * STRIDE + COLUMN + i] = Result(fma((x[first + i] - mean) * scale, gain[i], bias[i]));
        }
    }
}
