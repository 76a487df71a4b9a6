// The tile of a workgroup. Of plain products: its threads, and the rows and groups of four columns that each of them
// sums. Of cooperative ones: its subgroups, and the matrices of SIDE by SIDE sums that each of them holds.
#ifdef COOPERATIVE
#ifdef MATRICES_8
const SIDE = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
#else
const SIDE = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
#endif
#ifdef TILE_64X64
const SUBGROUPS_M = 2u;
const SUBGROUPS_N = 2u;
const TILE_M = 64u;
const TILE_N = 64u;
#else
const SUBGROUPS_M = 2u;
const SUBGROUPS_N = 4u;
const TILE_M = 128u;
const TILE_N = 128u;
#endif
const SUBGROUPS = SUBGROUPS_M * SUBGROUPS_N;
const MATRICES_M = TILE_M / SUBGROUPS_M / SIDE;
const MATRICES_N = TILE_N / SUBGROUPS_N / SIDE;
// Of a slice of x and of W.
const DEPTH = 32u;
alias Loaded4 = vec4<f16>;
#else
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
const DEPTH = 16u;
alias Loaded4 = vec4f;
#endif
