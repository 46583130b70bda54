/// Exclusions that the program brings.
package enum ExclusionPreset: String, Hashable, Sendable, CaseIterable {
    case temporary, caches, system

    /// One pattern and why nobody misses what it leaves out.
    package struct Line: Hashable, Sendable {
        package var pattern: String
        package var why: String
    }

    /// In a sentence.
    package var summary: String {
        switch self {
        case .temporary:
            "What programs throw away by themselves: temporary directories, half downloads, lock files, trash."
        case .caches: "What programs make anew when it is missing."
        case .system: "What is not on a disk, or belongs to the running system alone."
        }
    }

    /// What it contains.
    package var lines: [Line] {
        let lines: [(String, String)] =
            switch self {
            case .temporary:
                [
                    ("/tmp/", "emptied at each start"),
                    ("/var/tmp/", "programs may lose it at any time"),
                    ("**/.local/share/Trash/", "deleted by its owner; the versions before are kept"),
                    (".Trash-*/", "the trash of a removable disk"),
                    ("*.tmp", "written to be renamed or thrown away"),
                    ("*~", "an editor's copy of the version before"),
                    (".*.sw[a-p]", "Vim's notes of a file that is open"),
                    (".#*", "Emacs' lock of a file that is open"),
                    ("#*#", "Emacs' notes of a file that is open"),
                    (".~lock.*#", "LibreOffice's lock of a document that is open"),
                    ("~$*", "Microsoft Office's lock of a document that is open"),
                    ("*.crdownload", "a download that has not ended (Chromium)"),
                    ("*.part", "a download that has not ended (Firefox)"),
                    (".nfs[0-9a-f]*", "a file that is deleted and still open, on NFS"),
                ]
            case .caches:
                [
                    ("**/.cache/", "where programs of a desktop keep what they can make anew"),
                    ("/var/cache/", "the system's own; packages are fetched again"),
                    ("/var/lib/apt/lists/", "fetched again by apt update"),
                    ("**/.config/**/Cache/", "Chromium, Electron and what is built on them"),
                    ("**/.config/**/Code Cache/", "the same"),
                    ("**/.config/**/GPUCache/", "the same"),
                    ("**/.mozilla/firefox/*/cache2/", "Firefox before it used .cache"),
                    ("**/.thumbnails/", "small pictures of pictures"),
                    ("__pycache__/", "Python's compiled copies"),
                    ("**/.ccache/", "compiled objects"),
                    ("**/.npm/_cacache/", "packages that npm fetches again"),
                    ("**/.cargo/registry/", "packages that cargo fetches again"),
                    ("**/.gradle/caches/", "packages that Gradle fetches again"),
                    ("**/.m2/repository/", "packages that Maven fetches again"),
                    ("**/go/pkg/mod/", "packages that Go fetches again"),
                ]
            case .system:
                [
                    ("/proc/", "the kernel's view of processes"),
                    ("/sys/", "the kernel's view of devices"),
                    ("/dev/", "devices, made at each start"),
                    ("/run/", "the state of running programs, made at each start"),
                    ("/var/lib/lxcfs/", "a view of /proc for containers"),
                    ("/var/lib/systemd/coredump/", "memory of programs that crashed"),
                    ("/swapfile", "memory"),
                    ("/swap.img", "memory"),
                    ("/swap/", "memory"),
                    ("/var/swap", "memory"),
                    (".snapshots/", "snapshots that the file system keeps itself"),
                ]
            }
        return lines.map { Line(pattern: $0.0, why: $0.1) }
    }
}
