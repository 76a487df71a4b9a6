// The tile of a workgroup: its threads, and the rows and groups of four columns that each of them sums.
#ifdef TILE_32X32
const THREADS_M = 8u;
const THREADS_N = 8u;
const SUMS_M = 4u;
const SUMS_N = 1u;
#endif
#ifdef TILE_64X64
const THREADS_M = 16u;
const THREADS_N = 16u;
const SUMS_M = 4u;
const SUMS_N = 1u;
#endif
#ifdef TILE_128X64
const THREADS_M = 16u;
const THREADS_N = 16u;
const SUMS_M = 8u;
const SUMS_N = 1u;
#endif
#ifdef TILE_128X128
const THREADS_M = 16u;
const THREADS_N = 16u;
const SUMS_M = 8u;
const SUMS_N = 2u;
#endif
const TILE_M = THREADS_M * SUMS_M;
const TILE_N = THREADS_N * SUMS_N * 4u;
