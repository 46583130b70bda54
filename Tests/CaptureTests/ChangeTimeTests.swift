import Capture
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

/// Files that change within one step of the kernel's clock after they were read.
@Suite("Change times")
struct ChangeTimeTests {
    @Test(
        "are believed at once from Linux 6.13 on, and after a margin before",
        arguments: [
            ("6.1.0-28-amd64", false), ("5.10.0", false), ("6.12.9", false), ("6.13.0", true), ("6.18.44-fc", true),
            ("7.0", true), ("odd", false),
        ])
    func kernels(release: String, isFine: Bool) {
        #expect((ChangeTimeTrust(release: release).margin == 0) == isFine)
    }

    @Test("vouch for a reading that began a margin later, or whose time is of a clock far ahead")
    func margin() {
        let trust = ChangeTimeTrust(margin: 20_000_000)
        let changed = FileTime(seconds: 1_700_000_000, nanoseconds: 500_000_000)
        let instant: Int64 = 1_700_000_000_500_000_000
        #expect(!trust.vouches(for: changed, readAt: instant, on: .fine))
        #expect(!trust.vouches(for: changed, readAt: instant + 19_999_999, on: .fine))
        #expect(trust.vouches(for: changed, readAt: instant + 20_000_000, on: .fine))
        #expect(!trust.vouches(for: changed, readAt: instant - 1_000_000_000, on: .fine))
        #expect(trust.vouches(for: changed, readAt: instant - 7_200_000_000_000, on: .fine))
        #expect(trust.vouches(for: FileTime(seconds: .max, nanoseconds: 0), readAt: instant, on: .fine))
        #expect(ChangeTimeTrust(margin: 0).vouches(for: changed, readAt: instant, on: .fine))
    }

    @Test("that are too fresh make the next run read the file again, and it stores nothing new")
    func again() throws {
        let fixture = try BackupFixture()
        try fixture.write("small", SeededGenerator.some(1000))
        try fixture.write("large", SeededGenerator.some(200_000, seed: 3))
        try fixture.backup { $0.changeTimes = ChangeTimeTrust(margin: 60_000_000_000) }
        let second = try fixture.backup { $0.changeTimes = ChangeTimeTrust(margin: 0) }
        #expect(second.report.statistics.bytesRead == 201_000)
        #expect(second.report.statistics.newBytes == 0)
        let third = try fixture.backup()
        #expect(third.report.statistics.bytesRead == 0)
    }

    @Test("without a fraction, or of other file systems, vouch only for what changed seconds before")
    func coarse() {
        let trust = ChangeTimeTrust(margin: 0)
        let whole = FileTime(seconds: 1_700_000_000, nanoseconds: 0)
        let fraction = FileTime(seconds: 1_700_000_000, nanoseconds: 5_000_000)
        let instant: Int64 = 1_700_000_000_300_000_000
        #expect(!trust.vouches(for: whole, readAt: instant, on: .fine))
        #expect(trust.vouches(for: whole, readAt: instant + 2_000_000_000, on: .fine))
        #expect(trust.vouches(for: fraction, readAt: instant, on: .fine))
        #expect(!trust.vouches(for: fraction, readAt: instant, on: .coarse))
        #expect(trust.vouches(for: fraction, readAt: instant + 2_000_000_000, on: .coarse))
        #expect(!trust.vouches(for: fraction, readAt: instant + 60_000_000_000, on: .remote))
        #expect(!trust.vouches(for: fraction, readAt: instant - 60_000_000_000, on: .remote))
    }

    @Test(
        "are as fine as the kernel's on four file systems, and of another machine on those of networks",
        arguments: [
            ("ext4" as String?, false, ChangeTimeTrust.Clock.fine), ("xfs", false, .fine), ("btrfs", false, .fine),
            ("tmpfs", false, .fine), ("nfs", true, .remote), ("fuse", false, .remote), ("f2fs", false, .coarse),
            ("vfat", false, .coarse), ("overlay", false, .coarse), ("unknown (0x1)", false, .coarse),
            (nil, false, .coarse),
        ])
    func clocks(type: String?, isNetwork: Bool, clock: ChangeTimeTrust.Clock) {
        #expect(ChangeTimeTrust.Clock(type: type, isNetwork: isNetwork) == clock)
    }

    @Test(
        "of an ext4 with small inodes are of whole seconds: what is written in the second it was read in is not missed")
    func smallInodes() throws {
        let fixture = try BackupFixture()
        let image = (fixture.root as NSString).deletingLastPathComponent + "/image"
        let made = try shell(
            """
            truncate -s 16M '\(image)' && mkfs.ext4 -q -F -I 128 '\(image)' && mount -o loop '\(image)' '\(fixture.root)'
            """)
        guard made else { return print("skipped: a file system with small inodes cannot be made and mounted here") }
        defer { _ = try? shell("umount -l '\(fixture.root)'") }
        let old = SeededGenerator.some(100)
        let new = SeededGenerator.some(100, seed: 9)
        // The beginning of a second, so that both writings fall into it.
        let wait = 1_000_000 - UInt32(SystemClock.wall / 1000 % 1_000_000)
        usleep(wait + 10_000)
        try fixture.write("f", old)
        try fixture.backup()
        try fixture.write("f", new)
        let second = try fixture.backup()
        #expect(second.report.statistics.bytesRead == 100)
        #expect(second.report.statistics.newBytes > 0)
    }

    private func shell(_ script: String) throws -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-euc", script]
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}
