// One workgroup attends from QUERIES queries of one head to all keys, which stream by, KEYS at a time.
//
// qkv [B, TOKENS, 3, HEADS, SIZE], y [B, TOKENS, HEADS, SIZE], in groups of four values; one by one where a head is no
// whole number of groups, and is filled up with zeros. Eight threads share four queries. Of the scores, a thread has
// those of its queries with four keys; they become weights relative to the largest score so far (the online softmax),
// pass through the workgroup's memory, and are never stored. Keys, then values, of KEYS tokens lie in the workgroup's
// memory, for head sizes above 64 in two parts, above 128 in four.
#ifdef F16
enable f16;
#endif
#import shared/stored

override TOKENS: u32;
override HEADS: u32;
override SIZE: u32;
override SCALE: f32;
// A multiple of 4, up to 64.
override QUERIES: u32;

const KEYS = 32u;
const THREADS = 8u;
const LOWEST = -1e30;
// Four-value groups of a head, and of the part of a head in memory.
override HEAD: u32 = (SIZE + 3u) / 4u;
override PART: u32 = (HEAD + PARTS - 1u) / PARTS;
// From head to head, from queries to keys to values, and from token to token, in what qkv and y are arrays of.
#ifdef SCALAR
override STRIDE: u32 = SIZE;
#else
override STRIDE: u32 = HEAD;
#endif
override WIDTH: u32 = HEADS * STRIDE;
override PACKED: u32 = 3u * WIDTH;
// Weights are powers of two.
override SCALE_LOG2: f32 = SCALE * 1.4426950408889634;
#ifdef WIDEST
const PARTS = 4u;
const COLUMNS = 2u;
#else
#ifdef WIDE
const PARTS = 2u;
const COLUMNS = 2u;
#else
#ifdef NARROW
const PARTS = 1u;
const COLUMNS = 1u;
#else
const PARTS = 1u;
const COLUMNS = 2u;
#endif
#endif
#endif

#ifdef SCALAR
@group(0) @binding(0) var<storage, read> qkv: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Result>;

// A group of the head that begins at `start`; what lies beyond the head is zero.
fn fetch(start: u32, group: u32) -> vec4f {
    var values = vec4f();
    for (var i = 0u; i < 4u; i++) {
        if group * 4u + i < SIZE {
            values[i] = f32(qkv[start + group * 4u + i]);
        }
    }
    return values;
}

fn store(start: u32, group: u32, values: vec4f) {
    for (var i = 0u; i < 4u; i++) {
        if group * 4u + i < SIZE {
            y[start + group * 4u + i] = Result(values[i]);
        }
    }
}
#else
@group(0) @binding(0) var<storage, read> qkv: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> y: array<Result4>;

// A group of the head that begins at `start`.
fn fetch(start: u32, group: u32) -> vec4f {
    return vec4f(qkv[start + group]);
}

fn store(start: u32, group: u32, values: vec4f) {
    y[start + group] = Result4(values);
}
#endif

var<workgroup> part: array<vec4f, KEYS * PART>;
// Weights of a query's keys, in groups of four; before and after, what eight threads tell each other.
var<workgroup> shared_weights: array<vec4f, QUERIES * KEYS / 4>;

// Brings PART groups of KEYS tokens' heads into the workgroup's memory; tokens beyond the last are zero.
fn load(place: u32, first: u32, batch: u32, head: u32, group: u32) {
    for (var i = place; i < KEYS * PART; i += QUERIES / 4u * THREADS) {
        let token = first + i / PART;
        var values = vec4f();
        if token < TOKENS {
            values = fetch((batch * TOKENS + token) * PACKED + head, group + i % PART);
        }
        part[i] = values;
    }
}

@compute @workgroup_size(THREADS, QUERIES / 4)
fn main(
    @builtin(workgroup_id) tile: vec3u,
    @builtin(local_invocation_id) thread: vec3u,
    @builtin(local_invocation_index) place: u32,
) {
    let head = tile.y * STRIDE;
    let batch = tile.z;
    let first_query = tile.x * QUERIES + thread.y * 4u;
    // Queries beyond the last are read as the last, and never stored.
    var query: array<u32, 4>;
    for (var i = 0u; i < 4u; i++) {
        query[i] = (batch * TOKENS + min(first_query + i, TOKENS - 1u)) * PACKED + head;
    }
    var largest = vec4f(LOWEST);
    var total = vec4f();
    var sums: array<vec4f, 4 * PARTS * COLUMNS>;

    for (var first = 0u; first < TOKENS; first += KEYS) {
        var scores: array<vec4f, 4>;
        for (var i = 0u; i < 4u; i++) {
            scores[i] = vec4f();
        }
        for (var p = 0u; p < PARTS; p++) {
            workgroupBarrier();
            load(place, first, batch, WIDTH + head, p * PART);
            workgroupBarrier();
            // Threads begin at different groups, so that their keys lie in different banks of the memory.
            var at = thread.x % PART;
            for (var step = 0u; step < PART; step++) {
                let key = thread.x * 4u * PART + at;
                let k0 = part[key];
                let k1 = part[key + PART];
                let k2 = part[key + 2u * PART];
                let k3 = part[key + 3u * PART];
                for (var i = 0u; i < 4u; i++) {
                    let q = fetch(query[i], p * PART + at);
                    var score = scores[i];
                    score = fma(vec4f(q.x), vec4f(k0.x, k1.x, k2.x, k3.x), score);
                    score = fma(vec4f(q.y), vec4f(k0.y, k1.y, k2.y, k3.y), score);
                    score = fma(vec4f(q.z), vec4f(k0.z, k1.z, k2.z, k3.z), score);
                    score = fma(vec4f(q.w), vec4f(k0.w, k1.w, k2.w, k3.w), score);
                    scores[i] = score;
                }
                at = select(at + 1u, 0u, at + 1u == PART);
            }
        }

        let key = vec4u(first + thread.x * 4u) + vec4u(0u, 1u, 2u, 3u);
        var top = vec4f();
        for (var i = 0u; i < 4u; i++) {
            scores[i] = select(vec4f(LOWEST), scores[i] * SCALE_LOG2, key < vec4u(TOKENS));
            top[i] = max(max(scores[i].x, scores[i].y), max(scores[i].z, scores[i].w));
        }
        shared_weights[place] = top;
        workgroupBarrier();
        var larger = largest;
        for (var other = 0u; other < THREADS; other++) {
            larger = max(larger, shared_weights[thread.y * THREADS + other]);
        }
        workgroupBarrier();
        let shrink = exp2(largest - larger);
        largest = larger;
        total *= shrink;
        for (var i = 0u; i < 4u; i++) {
            let weights = exp2(scores[i] - vec4f(largest[i]));
            total[i] += weights.x + weights.y + weights.z + weights.w;
            shared_weights[(thread.y * 4u + i) * (KEYS / 4u) + thread.x] = weights;
            for (var c = 0u; c < PARTS * COLUMNS; c++) {
                sums[c * 4u + i] *= shrink[i];
            }
        }

        for (var p = 0u; p < PARTS; p++) {
            if p > 0u {
                workgroupBarrier();
            }
            load(place, first, batch, 2u * WIDTH + head, p * PART);
            workgroupBarrier();
            for (var four = 0u; four < KEYS / 4u; four++) {
                var weights: array<vec4f, 4>;
                for (var i = 0u; i < 4u; i++) {
                    weights[i] = shared_weights[(thread.y * 4u + i) * (KEYS / 4u) + four];
                }
                for (var c = 0u; c < COLUMNS; c++) {
                    // Threads beyond the last group sum it too, and never store it.
                    let value = four * 4u * PART + min(thread.x + c * THREADS, PART - 1u);
                    let v0 = part[value];
                    let v1 = part[value + PART];
                    let v2 = part[value + 2u * PART];
                    let v3 = part[value + 3u * PART];
                    for (var i = 0u; i < 4u; i++) {
                        var sum = sums[(p * COLUMNS + c) * 4u + i];
                        sum = fma(vec4f(weights[i].x), v0, sum);
                        sum = fma(vec4f(weights[i].y), v1, sum);
                        sum = fma(vec4f(weights[i].z), v2, sum);
                        sum = fma(vec4f(weights[i].w), v3, sum);
                        sums[(p * COLUMNS + c) * 4u + i] = sum;
                    }
                }
            }
        }
    }

    workgroupBarrier();
    shared_weights[place] = total;
    workgroupBarrier();
    total = vec4f();
    for (var other = 0u; other < THREADS; other++) {
        total += shared_weights[thread.y * THREADS + other];
    }
    for (var i = 0u; i < 4u; i++) {
        for (var c = 0u; c < PARTS * COLUMNS; c++) {
            let column = thread.x + c % COLUMNS * THREADS;
            if first_query + i < TOKENS && column < PART {
                let start = (batch * TOKENS + first_query + i) * WIDTH + head;
                store(start, c / COLUMNS * PART + column, sums[c * 4u + i] / total[i]);
            }
        }
    }
}
