//! Control groups: finding the group of a process, moving to one, and how much its limits leave.
//! Source: cgroups(7).

use nix::unistd::Pid;
use procfs::ProcResult;
use procfs::process::{MountInfos, Process};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the control group file systems are mounted: version 2 here, and each controller of version
/// 1 in a directory of its name.
const ROOT: &str = "/sys/fs/cgroup";

/// The control group (version 2) of a process, also of one that has ended but was not reaped.
/// `None` if the group was removed or can't be read.
pub(super) fn group_of(pid: Pid) -> Option<String> {
    // This runs at each fork and each death, so only one line is parsed.
    group_in(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?).map(str::to_owned)
}

fn group_in(membership: &str) -> Option<&str> {
    let group = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    (!group.ends_with(" (deleted)")).then_some(group)
}

/// Moves this process to a control group (version 2).
pub(super) fn join(group: &str) -> io::Result<()> {
    let mounts = Process::myself().and_then(|me| me.mountinfo()).map_err(io::Error::other)?;
    let directory = directory_of(group, &mounts).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no control group file system (version 2) is mounted here that has it",
        )
    })?;
    // 0 stands for the process that writes.
    fs::write(directory.join("cgroup.procs"), "0")
}

/// The directory of a control group (version 2).
fn directory_of(group: &str, mounts: &MountInfos) -> Option<PathBuf> {
    mounts.iter().filter(|mount| mount.fs_type == "cgroup2").find_map(|mount| {
        Some(mount.mount_point.join(Path::new(group).strip_prefix(&mount.root).ok()?))
    })
}

/// How much the limits of this process's control group and its ancestors leave, in version 2 or in
/// a controller of version 1; `None` without a limit. `max` and `current` name the files with the
/// limit and the use. `reclaimable` names the entry in the controller's statistics for the part of
/// the use that the kernel can reclaim at once: cached files.
pub(super) fn room(
    controller: &str,
    max: &str,
    current: &str,
    reclaimable: Option<&str>,
) -> Option<u64> {
    let left = |group: &Path| {
        // The word "max", or a missing file, means no limit.
        let (max, current) = (number(&group.join(max))?, number(&group.join(current))?);
        let statistics =
            fs::read_to_string(group.join(format!("{controller}.stat"))).unwrap_or_default();
        let named =
            |line: &str| line.strip_prefix(reclaimable?)?.strip_prefix(' ')?.parse::<u64>().ok();
        let back = statistics.lines().find_map(named).unwrap_or(0);
        Some(max.saturating_sub(current.saturating_sub(back)))
    };
    groups_around_me(controller).ok()?.iter().filter_map(|group| left(group)).min()
}

/// This process's control groups with their ancestors: of version 2, and of this controller of
/// version 1.
fn groups_around_me(controller: &str) -> ProcResult<Vec<PathBuf>> {
    let mut found = Vec::new();
    for group in Process::myself()?.cgroups()? {
        let root = match group.controllers.as_slice() {
            [] => PathBuf::from(ROOT),
            names if names.iter().any(|name| name == controller) => {
                Path::new(ROOT).join(controller)
            }
            _ => continue,
        };
        let own = root.join(group.pathname.trim_start_matches('/'));
        found
            .extend(own.ancestors().take_while(|path| path.starts_with(&root)).map(Path::to_owned));
    }
    Ok(found)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::prelude::FromBufRead;

    #[test]
    fn a_control_group_is_found_where_it_is_mounted() {
        let membership = "4:memory:/x\n0::/a/b\n";
        assert_eq!(
            (group_in(membership), group_in("0::/a/b (deleted)\n"), group_in("4:memory:/x\n")),
            (Some("/a/b"), None, None)
        );
        let directory_of = |group, mounts: &str| {
            directory_of(group, &MountInfos::from_buf_read(mounts.as_bytes()).unwrap())
        };
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 30 0:37 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(directory_of("/a/b", mounts), Some(PathBuf::from("/sys/fs/cgroup/unified/a/b")));
        // In a container only its own part is mounted.
        let part = "41 30 0:37 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(
            (directory_of("/docker/7/x", part), directory_of("/x", part)),
            (Some(PathBuf::from("/sys/fs/cgroup/x")), None)
        );
        assert_eq!(directory_of("/a", ""), None);
    }
}
