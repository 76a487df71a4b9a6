// One workgroup copies 256 values of the rows that are kept, of a matrix that stands again and again.
//
// x [FROM, DIM], kept [ROWS], y [ROWS, DIM].
override FROM: u32;
override ROWS: u32;
override DIM: u32;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> kept: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) tile: vec3u,
    @builtin(num_workgroups) tiles: vec3u,
    @builtin(local_invocation_index) place: u32,
) {
    let at = (tile.y * tiles.x + tile.x) * 256u + place;
    if at >= ROWS * DIM {
        return;
    }
    let row = kept[at / DIM] % FROM;
    y[at] = x[row * DIM + at % DIM];
}
