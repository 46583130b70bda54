import Capture
import Model
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
        #expect(!trust.vouches(for: changed, readAt: instant))
        #expect(!trust.vouches(for: changed, readAt: instant + 19_999_999))
        #expect(trust.vouches(for: changed, readAt: instant + 20_000_000))
        #expect(!trust.vouches(for: changed, readAt: instant - 1_000_000_000))
        #expect(trust.vouches(for: changed, readAt: instant - 7_200_000_000_000))
        #expect(trust.vouches(for: FileTime(seconds: .max, nanoseconds: 0), readAt: instant))
        #expect(ChangeTimeTrust(margin: 0).vouches(for: changed, readAt: instant))
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
}
