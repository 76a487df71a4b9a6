// How values are stored: what is read as Stored, what is written as Result.
#ifdef F16
alias Stored = f16;
alias Stored4 = vec4<f16>;
#else
alias Stored = f32;
alias Stored4 = vec4<f32>;
#endif
#ifdef F16_RESULT
alias Result = f16;
alias Result4 = vec4<f16>;
#else
alias Result = f32;
alias Result4 = vec4<f32>;
#endif
