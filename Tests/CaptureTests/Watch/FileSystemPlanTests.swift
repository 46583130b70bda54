import Model
import Platform
import Testing

@testable import Capture

private func path(_ text: String) -> TreePath { TreePath(text) ?? .root }

private func table(_ lines: String) -> MountTable { MountTable(parsing: Array(lines.utf8)) }

private func plan(
    _ mounts: MountTable, _ roots: [String], crossing: Bool = true, exists: (String) -> Bool = { _ in true }
) -> [PlannedFileSystem] {
    FileSystemPlan.make(
        mounts, roots: roots.map(path), crossing: crossing, exists: { exists(String(decoding: $0, as: UTF8.self)) })
}

private let machine = table(
    """
    20 1 8:1 / / rw - ext4 /dev/sda1 rw
    21 20 0:5 / /proc rw - proc proc rw
    22 20 8:2 / /home rw - xfs /dev/sda2 rw
    23 22 0:40 / /home/ann/remote rw - nfs4 server:/x rw
    24 22 0:41 / /home/ann/cloud rw - fuse.rclone cloud: rw
    25 20 8:1 /srv/data /home/data rw - ext4 /dev/sda1 rw
    26 20 0:60 / /var/lib/c/merged rw - overlay overlay rw,lowerdir=/l,upperdir=/var/lib/c/diff,workdir=/var/lib/c/work
    27 20 0:30 /@data /data rw - btrfs /dev/sdb rw,subvolid=256,subvol=/@data
    28 20 0:30 /@data/sub /data/sub rw - btrfs /dev/sdb rw,subvolid=257,subvol=/@data/sub
    """)

@Suite("Which file systems to watch")
struct FileSystemPlanTests {
    @Test("the file system of a root, and with crossing those below it, but none of the kernel's")
    func roots() {
        let alone = plan(machine, ["/home/ann"], crossing: false)
        #expect(alone.map(\.mountPoint) == [path("/home")] && alone[0].obstacle == nil)
        #expect(alone[0].places == [.init(mountPoint: path("/home"), part: .root, mount: 22, isOverlay: false)])
        let all = plan(machine, ["/"])
        #expect(!all.contains { $0.type == "proc" })
        #expect(Set(all.map(\.device)).count == all.count)
        #expect(plan(machine, ["/nowhere/yet"], crossing: false).map(\.mountPoint) == [.root])
    }

    @Test("a file system at several places is watched once, with all its places")
    func binds() {
        let home = plan(machine, ["/home", "/srv"])
        let disk = home.first { $0.device == 8 << 32 | 1 }
        #expect(disk?.places.map(\.mountPoint) == [path("/home/data"), .root])
        #expect(disk?.places.map(\.part) == [path("/srv/data"), .root])
        let data = plan(machine, ["/data"])
        #expect(data.count == 1 && data[0].places.map(\.part) == [path("/@data"), path("/@data/sub")])
    }

    @Test("network file systems and those of programs are scanned, and it is said why")
    func obstacles() {
        let plans = plan(machine, ["/home"])
        #expect(plans.first { $0.type == "nfs4" }?.obstacle?.contains("network") == true)
        #expect(plans.first { $0.type == "fuse.rclone" }?.obstacle?.contains("program") == true)
        let status = WatchStatus(
            mountPoint: path("/home/ann/remote"), type: "nfs4",
            mode: .scan(plans.first { $0.type == "nfs4" }?.obstacle ?? ""))
        #expect(status.displayText.hasPrefix("/home/ann/remote (nfs4): scanning, because nfs4 is a network"))
    }

    @Test("an overlay is watched at its upper directory, one that cannot be found is scanned")
    func overlays() {
        let plans = plan(machine, ["/var/lib/c/merged"])
        #expect(plans.count == 1 && plans[0].device == 8 << 32 | 1 && plans[0].obstacle == nil)
        let place = WatchPlace(
            mountPoint: path("/var/lib/c/merged"), part: path("/var/lib/c/diff"), mount: 20, isOverlay: true)
        #expect(plans[0].places == [place])
        #expect(plan(machine, ["/var/lib/c/merged"], exists: { _ in false })[0].obstacle?.contains("upper") == true)
    }

    @Test("what another mount hides is not watched there")
    func hidden() {
        let mounts = table(
            """
            20 1 8:1 / / rw - ext4 /dev/sda1 rw
            21 20 8:2 / /mnt rw - ext4 /dev/sdb rw
            22 21 8:3 / /mnt rw - ext4 /dev/sdc rw
            """)
        #expect(plan(mounts, ["/mnt"]).map(\.device) == [8 << 32 | 3])
    }

    @Test("a scope follows its roots, its ignored places and the rules on the way")
    func scope() {
        let rules = ExclusionRules([ExclusionPattern(Array("**/cache/".utf8))])
        let scope = WatchScope(
            roots: [path("/home"), path("/cache/kept")], ignored: [path("/home/spool")], exclusions: rules)
        #expect(scope.standing(of: .root) == .above && scope.standing(of: path("/cache")) == .above)
        #expect(scope.standing(of: path("/home/ann")) == .inside && scope.standing(of: path("/etc")) == .outside)
        #expect(scope.standing(of: path("/home/ann/cache")) == .outside)
        #expect(scope.standing(of: path("/home/ann/cache/deep")) == .outside)
        #expect(scope.standing(of: path("/cache/kept/x")) == .inside)
        #expect(scope.standing(of: path("/home/spool/x")) == .outside)
        #expect(scope.concerns(path("/home/ann/f")) && !scope.concerns(path("/home/spool")))
    }

    @Test("why a file system is only scanned is said so that somebody can do something about it")
    func reasons() {
        let unprivileged = WatchedFileSystem.reason(marking: .notPermitted, "ext4")
        #expect(unprivileged.contains("CAP_SYS_ADMIN") && unprivileged.contains("CAP_DAC_READ_SEARCH"))
        #expect(WatchedFileSystem.reason(opening: .invalidArgument).contains("5.9"))
        #expect(WatchedFileSystem.reason(opening: .tooManyOpenFiles).contains("max_user_groups"))
        #expect(WatchedFileSystem.reason(marking: .crossDevice, "btrfs").contains("part of btrfs"))
        #expect(WatchedFileSystem.reason(marking: .notSupported, "vboxsf").hasPrefix("vboxsf does not name"))
    }

    @Test("files that a program has mapped shared and writable are found in its list")
    func mappings() {
        let maps = """
            7f00-7f01 r--s 00000000 08:01 11 /read/only
            7f01-7f02 rw-p 00000000 08:01 12 /private
            7f02-7f03 rw-s 00000000 08:01 13                         /data/a b
            7f03-7f04 rw-s 00001000 08:01 13                         /data/a b
            7f04-7f05 rw-s 00000000 08:01 14                         /data/x\\012y (deleted)
            7f05-7f06 rw-s 00000000 00:01 15
            """
        #expect(
            MappedWriters.sharedWritable(Array(maps.utf8)) == [Array("/data/a b".utf8), Array("/data/x\ny".utf8)])
    }
}
