// A product by the matrix units of a GPU: subgroups multiply matrices of f16 and keep their sums, of f32, among their
// threads.

// Threads of a subgroup.
override SUBGROUP: u32;

// Eight values more than a row has, so that rows begin at other banks; still a multiple of 16 bytes.
const STRIDE_X = DEPTH + 8u;
const STRIDE_W = TILE_N + 8u;

var<workgroup> slice_x: array<f16, TILE_M * STRIDE_X>;
var<workgroup> slice_w: array<f16, DEPTH * STRIDE_W>;
// One matrix of each subgroup: no thread knows which sums it holds before they are here.
var<workgroup> blocks: array<f32, SUBGROUPS * SIDE * SIDE>;

@compute @workgroup_size(SUBGROUP * SUBGROUPS)
fn main(
    @builtin(workgroup_id) tile: vec3u,
    @builtin(local_invocation_index) place: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let first_row = tile.y * TILE_M;
    let first_group = tile.x * (TILE_N / 4u);
    // The subgroup's first row and column of the tile.
    let row = subgroup / SUBGROUPS_N * (MATRICES_M * SIDE);
    let column = subgroup % SUBGROUPS_N * (MATRICES_N * SIDE);
    let block = subgroup * (SIDE * SIDE);
    var sums: array<Sum, MATRICES_M * MATRICES_N>;
    var right: array<Right, MATRICES_N>;

    for (var depth = 0u; depth < GROUPS_K; depth += DEPTH / 4u) {
        for (var i = place; i < TILE_M * (DEPTH / 4u); i += SUBGROUP * SUBGROUPS) {
            let values = load_x(first_row + i / (DEPTH / 4u), depth + i % (DEPTH / 4u));
            let at = i / (DEPTH / 4u) * STRIDE_X + i % (DEPTH / 4u) * 4u;
            for (var j = 0u; j < 4u; j++) {
                slice_x[at + j] = values[j];
            }
        }
        for (var i = place; i < DEPTH * (TILE_N / 4u); i += SUBGROUP * SUBGROUPS) {
            let values = load_w(depth * 4u + i / (TILE_N / 4u), first_group + i % (TILE_N / 4u));
            let at = i / (TILE_N / 4u) * STRIDE_W + i % (TILE_N / 4u) * 4u;
            for (var j = 0u; j < 4u; j++) {
                slice_w[at + j] = values[j];
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += SIDE) {
            for (var n = 0u; n < MATRICES_N; n++) {
                right[n] = coopLoadT<Right>(&slice_w[k * STRIDE_W + column + n * SIDE], STRIDE_W);
            }
            for (var m = 0u; m < MATRICES_M; m++) {
                let left = coopLoadT<Left>(&slice_x[(row + m * SIDE) * STRIDE_X + k], STRIDE_X);
                for (var n = 0u; n < MATRICES_N; n++) {
                    sums[m * MATRICES_N + n] = coopMultiplyAdd(left, right[n], sums[m * MATRICES_N + n]);
                }
            }
        }
        workgroupBarrier();
    }

    for (var m = 0u; m < MATRICES_M; m++) {
        for (var n = 0u; n < MATRICES_N; n++) {
            coopStoreT(sums[m * MATRICES_N + n], &blocks[block], SIDE);
            workgroupBarrier();
            for (var i = lane; i < SIDE * SIDE / 4u; i += SUBGROUP) {
                let at = block + i * 4u;
                let y_row = first_row + row + m * SIDE + i / (SIDE / 4u);
                let y_group = first_group + (column + n * SIDE) / 4u + i % (SIDE / 4u);
                if y_row < M && y_group < GROUPS_N {
                    store(y_row, y_group, vec4f(blocks[at], blocks[at + 1u], blocks[at + 2u], blocks[at + 3u]));
                }
            }
            workgroupBarrier();
        }
    }
}
