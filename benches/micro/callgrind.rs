//! Has callgrind count a piece: this program once more, of which only the round counts.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Fallible, piece::Piece};

/// What callgrind finds the round by.
const ROUND: &str = "--toggle-collect=*counted_round*";

/// What the C library does by the processor and by the state of its heap, it does the same way everywhere: copies in the way
/// that all processors have, of whose steps callgrind counts each, and memory out of its front drawer, however full.
const SAME_EVERYWHERE: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX_Fast_Unaligned_Load,-AVX512F,-AVX512VL,-AVX512BW,-SSSE3,-SSE4_1,-SSE4_2,-ERMS,-FSRM:\
     glibc.malloc.tcache_count=65535",
);

/// Where it says which function took how much, for `callgrind_annotate`.
pub(crate) fn profile(piece: &str) -> Fallible<PathBuf> {
    let program = env::current_exe()?;
    let build = program
        .ancestors()
        .nth(2)
        .ok_or("this program is nowhere")?;
    Ok(build.join("instructions").join(format!("{piece}.out")))
}

/// The instructions of a round.
pub(crate) fn count(piece: &Piece) -> Fallible<u64> {
    let profile = profile(piece.name)?;
    fs::create_dir_all(profile.parent().unwrap_or(Path::new(".")))?;
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(&profile);
    let run = Command::new("valgrind")
        .env(SAME_EVERYWHERE.0, SAME_EVERYWHERE.1)
        .args(["--tool=callgrind", ROUND])
        .arg(out)
        .arg(env::current_exe()?)
        .args(["count", piece.name])
        .output()
        .map_err(|error| format!("run valgrind, which scripts/setup installs: {error}"))?;
    if !run.status.success() {
        let told = String::from_utf8_lossy(&run.stderr);
        return Err(format!("count {}: {}\n{told}", piece.name, run.status).into());
    }
    total(&fs::read_to_string(&profile)?)
        .filter(|total| *total > 0)
        .ok_or_else(|| format!("count {}: callgrind has not found the round", piece.name).into())
}

/// What a profile says of all of it.
fn total(profile: &str) -> Option<u64> {
    let line = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}

/// The compiler and the C library, on which counts depend.
pub(crate) fn built_with() -> Fallible<String> {
    let compiler = said(Command::new("rustc").arg("-vV"))?;
    let member = |name: &str| {
        let found = compiler.lines().find_map(|line| line.strip_prefix(name));
        found.ok_or("`rustc -vV` does not say which one it is")
    };
    let libc = said(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let (release, host) = (member("release: ")?, member("host: ")?);
    Ok(format!("rustc {release}, {host}, {}", libc.trim()))
}

fn said(command: &mut Command) -> Fallible<String> {
    let run = command.output();
    let run = run.map_err(|error| format!("run {:?}: {error}", command.get_program()))?;
    Ok(String::from_utf8(run.stdout)?)
}
