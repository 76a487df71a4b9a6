//! The parts of CUDA's toolkit that burn's kernels need when they run, looked for before the first tensor.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// Names under which NVRTC is installed, as the kernels' compiler looks for them.
const NVRTC: [&str; 6] =
    ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so.11", "nvrtc64_120_0.dll"];
/// A header that every tensor-core kernel includes.
const HEADER: &str = "include/mma.h";

/// Where CUDA's folder may lie: `CUDA_PATH` if it is set, else the usual places.
pub fn folders(cuda_path: Option<OsString>) -> Vec<PathBuf> {
    match cuda_path {
        Some(path) => vec![path.into()],
        None => ["/usr/local/cuda", "/opt/cuda", "/usr"].map(PathBuf::from).to_vec(),
    }
}

/// Refuses to go on without NVRTC, where `opens` says which shared libraries can be opened, or without the headers that it
/// compiles kernels with, in one of `folders`.
///
/// # Errors
/// A device error with what is missing and every place where it was looked for.
pub fn require(opens: impl Fn(&str) -> bool, folders: &[PathBuf]) -> Result<()> {
    if !NVRTC.iter().any(|name| opens(name)) {
        return Err(Error::device(format!("NVRTC was not found on the loader's path as {}", NVRTC.join(", ")))
            .with_remedy(
                "install the CUDA toolkit or the wheel nvidia-cuda-nvrtc, and put its folder in LD_LIBRARY_PATH",
            ));
    }
    if !folders.iter().any(|folder| folder.join(HEADER).is_file()) {
        let looked: Vec<String> = folders.iter().map(|folder| folder.join(HEADER).display().to_string()).collect();
        return Err(Error::device(format!("CUDA's headers were not found as {}", looked.join(", ")))
            .with_remedy("install the CUDA toolkit, or set CUDA_PATH to a folder that holds include/mma.h"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_cuda_is_said_with_every_place_where_it_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        let cuda = folder.path().join("cuda");
        std::fs::create_dir_all(cuda.join("include")).unwrap();
        std::fs::write(cuda.join(HEADER), "").unwrap();

        let error = require(|_| false, std::slice::from_ref(&cuda)).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(NVRTC.iter().all(|name| error.to_string().contains(name)), "{error}");

        // The loader finds a release by its number alone.
        let numbered = |name: &str| name == "libnvrtc.so.12";
        let error = require(numbered, std::slice::from_ref(&empty)).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains(&empty.join(HEADER).display().to_string()), "{error}");

        require(numbered, &[empty, cuda]).unwrap();
    }

    #[test]
    fn cuda_path_is_the_only_place_where_it_is_set() {
        assert_eq!(folders(Some("/opt/cuda-13".into())), [PathBuf::from("/opt/cuda-13")]);
        assert!(folders(None).contains(&PathBuf::from("/usr/local/cuda")));
    }
}
