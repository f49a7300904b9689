//! The memory available to the process: that of the machine, or the limit of a control group.

use std::path::{Path, PathBuf};

/// The memory available to the process in bytes, if known.
pub(super) fn usable_bytes() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let limits = limit_files(read(Path::new("/proc/self/cgroup")).as_deref().unwrap_or_default());
    let limits = limits.iter().filter_map(|path| read(path)).filter_map(|text| limit(&text));
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    limits.chain(machine).min()
}

/// The limit files of a process in these control groups: its own and those of their ancestors.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|it| it == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

/// A number of bytes; `max` is none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The machine's memory.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_all_control_groups_above_count() {
        let expected = ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max"];
        let files = limit_files("0::/a/b\n");
        assert_eq!(files.len(), 3);
        assert!(expected.iter().all(|path| files.contains(&PathBuf::from(path))));
        assert!(files.contains(&PathBuf::from("/sys/fs/cgroup/memory.max")));
        let old = limit_files("4:cpu:/x\n5:memory,hugetlb:/x\nnonsense\n");
        assert!(old.contains(&PathBuf::from("/sys/fs/cgroup/memory/x/memory.limit_in_bytes")));
        assert_eq!(old.len(), 2);
    }

    #[test]
    fn limits_and_the_memory_of_the_machine_are_read() {
        assert_eq!((limit("max\n"), limit("536870912\n")), (None, Some(512 << 20)));
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!((total(""), total("MemTotal: x kB")), (None, None));
    }
}
