import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

/// Round trips on real file systems of each kind, in images on loop devices. Need root; a kind whose tools are not there
/// is skipped with the reason printed.
@Suite(.serialized) struct FileSystemTests {
    /// A new file system of a kind, mounted; `nil` with the reason printed when that is not possible.
    private static func mount(_ kind: String, megabytes: Int = 600) throws -> (path: String, unmount: () -> Void)? {
        guard RestoreFixture.isRoot else {
            print("skipped: mounting \(kind) needs root")
            return nil
        }
        guard (try? RestoreFixture.shell("command -v mkfs.\(kind)")) != nil else {
            print("skipped: there is no mkfs.\(kind)")
            return nil
        }
        let base = NSTemporaryDirectory() + "/holdfast-fs-" + UUID().uuidString.prefix(8).lowercased()
        do {
            try RestoreFixture.shell(
                """
                mkdir -p '\(base)/at'; truncate -s \(megabytes)M '\(base)/image'
                mkfs.\(kind) \(kind == "ext4" ? "-q -F" : "-q -f") '\(base)/image'
                mount -o loop '\(base)/image' '\(base)/at'
                """)
        } catch {
            print("skipped: \(kind) cannot be mounted here: \(error)")
            _ = try? RestoreFixture.shell("rm -rf '\(base)'")
            return nil
        }
        return (base + "/at", { _ = try? RestoreFixture.shell("umount -l '\(base)/at'; rm -rf '\(base)'") })
    }

    @Test("everything comes back on the file system it was on", arguments: ["ext4", "xfs", "btrfs"])
    func sameKind(_ kind: String) throws {
        guard let (path, unmount) = try FileSystemTests.mount(kind) else { return }
        let fixture = try RestoreFixture(in: path, cleanUp: [unmount])
        try fixture.make(RoundTripTests.menagerie)
        try fixture.make(RoundTripTests.rootOnly)
        try fixture.make(RoundTripTests.attributes)
        try fixture.make(RoundTripTests.rootAttributes)
        // Flags: each as far as the file system has it.
        try fixture.make(
            """
            printf i > immutable; printf a > append; printf d > nodump; printf h > linked; ln linked linked-second
            mkdir sealed; printf s > sealed/inside; : > fresh; mkdir quiet
            chattr +d nodump || true; chattr +A quiet || true; chattr +C fresh || true; printf f >> fresh
            chattr +a append; chattr +i linked; chattr +i sealed; chattr +i immutable
            """)
        defer { _ = try? RestoreFixture.shell("chattr -R -i -a '\(fixture.base)' 2>/dev/null || true") }
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let report = try fixture.restore(reader, to: target) { $0.verify = true }
        #expect(report.issues == [])
        #expect(try fixture.differences(target + fixture.source) == "")
        let flags = "-name '*' -type f -o -type d"
        func listed(_ directory: String) throws -> String {
            try RestoreFixture.shell(
                "cd '\(directory)'; find . \\( \(flags) \\) -print0 | sort -z | xargs -0 lsattr -d 2>/dev/null || true")
        }
        #expect(try listed(target + fixture.source) == listed(fixture.source))
        // What stands there already, immutable files included, is found to be the same.
        let again = try fixture.restore(reader, to: target)
        #expect(again.filesWritten == 0 && again.issues == [])
        // And in place, after changes that need flags to be taken away.
        try fixture.make(
            "chattr -i immutable; printf changed > immutable; chattr +i immutable; chattr -i sealed; rm sealed/inside")
        let back = try fixture.restoreInPlace(reader)
        #expect(back.issues == [])
        #expect(try fixture.differences(target + fixture.source) == "")
        #expect(try listed(target + fixture.source) == listed(fixture.source))
    }

    @Test("what the target cannot hold is listed and costs nothing else")
    func otherKind() throws {
        guard RestoreFixture.isRoot else { return print("skipped: needs root") }
        let fixture = try RestoreFixture()
        try fixture.make(
            """
            printf x > plain; printf y > tagged; setfattr -n user.a -v "$(head -c 60 /dev/zero | tr '\\0' v)" tagged
            ln plain second; mkdir d; printf z > d/z
            """)
        let reader = try fixture.backup()
        let target = fixture.place("vfat")
        guard
            (try? RestoreFixture.shell(
                """
                mkdir '\(target)'; truncate -s 40M '\(fixture.base)/vfat.image'; mkfs.vfat '\(fixture.base)/vfat.image'
                mount -o loop '\(fixture.base)/vfat.image' '\(target)'
                """)) != nil
        else { return print("skipped: vfat cannot be mounted here") }
        defer { _ = try? RestoreFixture.shell("umount -l '\(target)'") }
        let report = try fixture.restore(reader, to: target)
        #expect(report.issues.allSatisfy { $0.kind == .metadata })
        #expect(report.issues.contains { $0.text.contains("user.a") })
        let directory = target + fixture.source
        #expect(try RestoreFixture.read(directory + "/second") == Array("x".utf8))
        #expect(try RestoreFixture.read(directory + "/d/z") == Array("z".utf8))
    }

    @Test("names do not get attributes or flags from the directory they are restored into")
    func inheritance() throws {
        guard let (path, unmount) = try FileSystemTests.mount("ext4", megabytes: 60) else { return }
        let fixture = try RestoreFixture(in: path, cleanUp: [unmount])
        try fixture.make("mkdir d; printf x > d/f; chmod 640 d/f; ln -s f d/l")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        try RestoreFixture.shell(
            "mkdir '\(target)'; setfacl -m d:u:4321:rwx '\(target)'; chmod g+s '\(target)'; chgrp 77 '\(target)'; chattr +d '\(target)'"
        )
        let report = try fixture.restore(reader, to: target)
        #expect(report.issues == [])
        #expect(try fixture.differences(target + fixture.source) == "")
        #expect(
            try RestoreFixture.shell("lsattr '\(target + fixture.source)/d/f' | cut -d' ' -f1 | tr -d 'e-'") == "\n")
    }
}
