// One workgroup computes a tile of y = x W + b, TILE_M rows by TILE_N columns, from slices of x and W in its memory.
//
// x [M, K], W [K, N], b [N], y [M, N]. A thread sums SUMS_M rows by SUMS_N times four columns in registers: it reads
// four columns of x at once, against four rows of W. Sums are of 32 bits, however x, W and y are stored.
#ifdef F16
enable f16;
#endif
#ifdef COOPERATIVE
enable wgpu_cooperative_matrix;
#endif
#import shared/stored
#import shared/tile

override M: u32;
override K: u32;
override N: u32;
// In groups of four, the last one perhaps not full.
override GROUPS_K: u32 = (K + 3u) / 4u;
override GROUPS_N: u32 = (N + 3u) / 4u;

#ifdef SCALAR
@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> w: array<Stored>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
#else
@group(0) @binding(0) var<storage, read> x: array<Stored4>;
@group(0) @binding(1) var<storage, read> w: array<Stored4>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
#endif
#ifdef TABLE
// Rows of the table, which are read with the rows of y again and again.
override T: u32;
#ifdef SCALAR
@group(0) @binding(3) var<storage, read> table: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<Result>;
#else
@group(0) @binding(3) var<storage, read> table: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<Result4>;
#endif
#else
#ifdef SCALAR
@group(0) @binding(3) var<storage, read_write> y: array<Result>;
#else
@group(0) @binding(3) var<storage, read_write> y: array<Result4>;
#endif
#endif

// Rows beyond the last are read as the last, and never stored. What lies beyond the depth must be zero.
#ifdef SCALAR
fn load_x(row: u32, group: u32) -> vec4f {
    let first = min(row, M - 1u) * K;
    var values = vec4f();
    for (var i = 0u; i < 4u; i++) {
        if group * 4u + i < K {
            values[i] = f32(x[first + group * 4u + i]);
        }
    }
    return values;
}

fn load_w(row: u32, group: u32) -> vec4f {
    var values = vec4f();
    for (var i = 0u; i < 4u; i++) {
        if row < K && group * 4u + i < N {
            values[i] = f32(w[row * N + group * 4u + i]);
        }
    }
    return values;
}
#else
fn load_x(row: u32, group: u32) -> Loaded4 {
    if GROUPS_K % (DEPTH / 4u) != 0u && group >= GROUPS_K {
        return Loaded4();
    }
    return Loaded4(x[min(row, M - 1u) * GROUPS_K + group]);
}

fn load_w(row: u32, group: u32) -> Loaded4 {
    if K % DEPTH != 0u && row >= K {
        return Loaded4();
    }
    return Loaded4(w[row * GROUPS_N + min(group, GROUPS_N - 1u)]);
}
#endif

#ifdef GELU
#import shared/gelu
#endif
#ifdef ROTATION
// Channels of a head. A row of the table has the cosines of a head's channels, then the sines; by them neighbouring
// channels of queries and keys, the first two thirds of the columns, turn each other.
override SIZE: u32;
#endif

#ifdef SCALAR
fn store(row: u32, group: u32, sums: vec4f) {
    for (var i = 0u; i < 4u; i++) {
        let column = group * 4u + i;
        if column >= N {
            return;
        }
        let at = row * N + column;
        var value = sums[i] + b[column];
#ifdef GELU
        value = gelu(vec4f(value)).x;
#endif
#ifdef POSITION
        value += table[(row % T) * N + column];
#endif
#ifdef ROTATION
        if column < N / 3u * 2u {
            let other = sums[i ^ 1u] + b[column ^ 1u];
            let cosine = row % T * (SIZE * 2u) + column % SIZE;
            value = fma(other, table[cosine + SIZE], value * table[cosine]);
        }
#endif
#ifdef RESIDUAL
        value += y[at];
#endif
        y[at] = Result(value);
    }
}
#else
fn store(row: u32, group: u32, sums: vec4f) {
    let at = row * GROUPS_N + group;
    var values = sums + b[group];
#ifdef GELU
    values = gelu(values);
#endif
#ifdef POSITION
    values += table[(row % T) * GROUPS_N + group];
#endif
#ifdef ROTATION
    if group < GROUPS_N / 3u * 2u {
        let cosine = row % T * (SIZE / 2u) + group % (SIZE / 4u);
        values = fma(values.yxwz, table[cosine + SIZE / 4u], values * table[cosine]);
    }
#endif
#ifdef RESIDUAL
    values += y[at];
#endif
    y[at] = Result4(values);
}
#endif

#ifdef COOPERATIVE
#import shared/cooperative
#else
// Of x: DEPTH columns. Of W: DEPTH rows.
var<workgroup> slice_x: array<vec4f, TILE_M * (DEPTH / 4u)>;
var<workgroup> slice_w: array<vec4f, DEPTH * (TILE_N / 4u)>;

@compute @workgroup_size(THREADS_N, THREADS_M)
fn main(
    @builtin(workgroup_id) tile: vec3u,
    @builtin(local_invocation_id) thread: vec3u,
    @builtin(local_invocation_index) place: u32,
) {
    let first_row = tile.y * TILE_M;
    let first_group = tile.x * (TILE_N / 4u);
    var sums: array<vec4f, SUMS_M * SUMS_N>;
    var from_x: array<vec4f, SUMS_M>;

    for (var depth = 0u; depth < GROUPS_K; depth += DEPTH / 4u) {
        for (var i = place; i < TILE_M * (DEPTH / 4u); i += THREADS_M * THREADS_N) {
            slice_x[i] = load_x(first_row + i / (DEPTH / 4u), depth + i % (DEPTH / 4u));
        }
        for (var i = place; i < DEPTH * (TILE_N / 4u); i += THREADS_M * THREADS_N) {
            slice_w[i] = load_w(depth * 4u + i / (TILE_N / 4u), first_group + i % (TILE_N / 4u));
        }
        workgroupBarrier();
        for (var four = 0u; four < DEPTH / 4u; four++) {
            for (var m = 0u; m < SUMS_M; m++) {
                from_x[m] = slice_x[(thread.y + m * THREADS_M) * (DEPTH / 4u) + four];
            }
            for (var n = 0u; n < SUMS_N; n++) {
                let group = four * TILE_N + thread.x + n * THREADS_N;
                let w0 = slice_w[group];
                let w1 = slice_w[group + TILE_N / 4u];
                let w2 = slice_w[group + TILE_N / 2u];
                let w3 = slice_w[group + TILE_N / 4u * 3u];
                for (var m = 0u; m < SUMS_M; m++) {
                    var sum = sums[m * SUMS_N + n];
                    sum = fma(vec4f(from_x[m].x), w0, sum);
                    sum = fma(vec4f(from_x[m].y), w1, sum);
                    sum = fma(vec4f(from_x[m].z), w2, sum);
                    sum = fma(vec4f(from_x[m].w), w3, sum);
                    sums[m * SUMS_N + n] = sum;
                }
            }
        }
        workgroupBarrier();
    }

    for (var m = 0u; m < SUMS_M; m++) {
        let row = first_row + thread.y + m * THREADS_M;
        for (var n = 0u; n < SUMS_N; n++) {
            let group = first_group + thread.x + n * THREADS_N;
            if row < M && group < GROUPS_N {
                store(row, group, sums[m * SUMS_N + n]);
            }
        }
    }
}
#endif
