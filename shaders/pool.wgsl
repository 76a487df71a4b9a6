// One workgroup averages 64 columns over the tokens of one image, every fourth token by the same threads.
//
// x [B, TOKENS, DIM], y [B, DIM].
override TOKENS: u32;
override DIM: u32;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

var<workgroup> parts: array<array<f32, 64>, 4>;

@compute @workgroup_size(64, 4)
fn main(@builtin(workgroup_id) tile: vec3u, @builtin(local_invocation_id) thread: vec3u) {
    let column = tile.x * 64u + thread.x;
    var sum = 0.0;
    if column < DIM {
        for (var token = thread.y; token < TOKENS; token += 4u) {
            sum += x[(tile.y * TOKENS + token) * DIM + column];
        }
    }
    parts[thread.y][thread.x] = sum;
    workgroupBarrier();
    if thread.y == 0u && column < DIM {
        let all = (parts[0][thread.x] + parts[1][thread.x]) + (parts[2][thread.x] + parts[3][thread.x]);
        y[tile.y * DIM + column] = all / f32(TOKENS);
    }
}
