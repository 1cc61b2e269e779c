//! How much memory another process takes.

use std::fs;
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::Duration;

use super::Running;

/// The highest values of these lines of `/proc/PID/status`, in kB, seen until the process ended.
pub(crate) fn peak_kb<const N: usize>(running: &mut Running, lines: [&str; N]) -> ([u64; N], ExitStatus) {
    let path = format!("/proc/{}/status", running.0.id());
    let mut peak = [0; N];
    loop {
        if let Some(status) = running.0.try_wait().unwrap() {
            return (peak, status);
        }
        let status = fs::read_to_string(&path).unwrap_or_default();
        for (peak, name) in peak.iter_mut().zip(lines) {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            *peak = kb.unwrap_or(0).max(*peak);
        }
        sleep(Duration::from_millis(2));
    }
}
