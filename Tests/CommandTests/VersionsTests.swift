import Foundation
import TestSupport
import Testing

@testable import holdfast

@Suite("The versions of a file")
struct VersionsTests {
    @Test("each change of a file is a line, and each version comes back by its point and by its time")
    func versions() throws {
        let place = try KillPlace("versions")
        defer { place.close() }
        try FileManager.default.createDirectory(at: place.files, withIntermediateDirectories: true)
        let file = place.files.appendingPathComponent("notes @ home.txt")
        let other = place.files.appendingPathComponent("other")
        func backup() throws { try place.run("backup", place.files.path) }
        try Data("one".utf8).write(to: file)
        try backup()
        try Data("not this file".utf8).write(to: other)
        try backup()
        try Data("second".utf8).write(to: file)
        try backup()
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file.path)
        try backup()
        try FileManager.default.removeItem(at: file)
        try backup()
        let sheet = ["--key-sheet", place.directory.path + "/sheet"]
        let versions = try ProgramFixture.objects(try place.attempt(["versions", file.path] + sheet))
        #expect(versions.compactMap { $0["change"] as? String } == ["added", "content", "metadata", "removed"])
        #expect(versions.compactMap { $0["size"] as? Int } == [3, 6, 6, 0])

        let target = place.directory.appendingPathComponent("target")
        let time = try #require(versions[0]["time"] as? String)
        try place.run("restore", "\(file.path)@\(time)", "--to", target.path)
        let restored = try String(contentsOfFile: target.path + file.path, encoding: .utf8)
        #expect(restored == "one")
        #expect(!FileManager.default.fileExists(atPath: target.path + other.path))
        let none = try place.attempt(["versions", place.files.path + "/nothing"] + sheet)
        #expect(none.status == 1)
    }

    @Test("a path at a time is told from a point")
    func meaning() throws {
        let path = PathArgument(bytes: Array("/etc/fstab".utf8))
        #expect(try Restore.meant("@yesterday", [path]) == ("@yesterday", [path]))
        #expect(try Restore.meant("latest", []) == ("latest", []))
        #expect(try Restore.meant("/etc/fstab@10:15", []) == ("@10:15", [path]))
        #expect(try Restore.meant("/etc/fstab@latest", []) == ("latest", [path]))
        let odd = PathArgument(bytes: Array("a@b".utf8))
        #expect(try Restore.meant("a@b@yesterday", [path]) == ("@yesterday", [odd, path]))
    }

    @Test("without an agent its questions say so, and how to start one")
    func noAgent() throws {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        for arguments in [["agent", "status"], ["backup", "--now"]] {
            let result = try fixture.run(arguments)
            #expect(result.status == 1)
            #expect(result.error.contains("No agent runs"))
            #expect(result.error.contains("holdfast agent run"))
        }
    }
}
