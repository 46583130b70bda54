import Foundation
import TestSupport
import Testing

@Suite("A vault from the first day to the bad day", .serialized)
struct ScenarioTests {
    /// A vault in a directory of its own, with a passphrase file, and some files to protect.
    private struct Place {
        var fixture: ProgramFixture
        let files: URL
        let vault: URL
        let passphrase: URL

        init() throws {
            fixture = try ProgramFixture()
            files = fixture.directory.appendingPathComponent("files")
            vault = fixture.directory.appendingPathComponent("disk/vault")
            passphrase = fixture.directory.appendingPathComponent("passphrase")
            try FileManager.default.createDirectory(
                at: files.appendingPathComponent("sub/deep"), withIntermediateDirectories: true)
            try Data("correct horse battery\n".utf8).write(to: passphrase)
            try write("a.txt", "first\n")
            try write("sub/b.txt", String(repeating: "bundled ", count: 500))
            try write("sub/deep/c.bin", String(repeating: "0123456789abcdef", count: 60_000))
            try FileManager.default.createSymbolicLink(
                atPath: files.appendingPathComponent("link").path, withDestinationPath: "a.txt")
            fixture.environment["HOLDFAST_VAULT"] = vault.path
            fixture.environment["HOLDFAST_PASSPHRASE_FILE"] = passphrase.path
        }

        func write(_ name: String, _ text: String) throws {
            try Data(text.utf8).write(to: files.appendingPathComponent(name))
        }

        func close() { fixture.close() }

        /// Runs a command with `--json` that must succeed, and gives its objects.
        func objects(_ arguments: String...) throws -> [[String: Any]] {
            let result = try fixture.run(arguments + ["--json"])
            #expect(result.status == 0, "\(arguments): \(result.error)")
            return try ProgramFixture.objects(result)
        }

        /// Makes the vault and one point; gives the point's id.
        func makeVaultAndPoint() throws -> String {
            let made = try fixture.run("vault", "init")
            #expect(made.status == 0, "\(made.error)")
            let objects = try objects("backup", files.path, "--label", "first")
            return try #require(objects.last?["point"] as? String)
        }
    }

    @Test("init, backup, points, ls, cat, restore: what comes back is what was there")
    func roundTrip() throws {
        let place = try Place()
        defer { place.close() }
        let point = try place.makeVaultAndPoint()

        let points = try place.objects("points")
        #expect(points.count == 1)
        #expect(points.first?["id"] as? String == point)
        #expect(points.first?["labels"] as? [String] == ["first"])
        #expect(points.first?["files"] as? Int == 3)

        let listed = try place.fixture.run("ls", "latest", place.files.path)
        #expect(listed.lines == ["a.txt", "link", "sub/"])
        let content = try place.fixture.run(
            "cat", String(point.prefix(6)), place.files.appendingPathComponent("a.txt").path)
        #expect(content.text == "first\n")

        let target = place.fixture.directory.appendingPathComponent("restored")
        let restored = try place.fixture.run("restore", "latest", "--to", target.path)
        #expect(restored.status == 0, "\(restored.error)")
        let copy = target.path + place.files.path
        #expect(FileManager.default.contentsEqual(atPath: place.files.path, andPath: copy))
        // A second restore finds everything there.
        let again = try place.objects("restore", "latest", "--to", target.path)
        #expect(again.last?["files_written"] as? Int == 0)
        #expect(again.last?["files_unchanged"] as? Int == 3)
    }

    @Test("a second backup reads only what changed, and diff and find tell the versions apart")
    func changes() throws {
        let place = try Place()
        defer { place.close() }
        let first = try place.makeVaultAndPoint()
        try place.write("a.txt", "second, longer\n")
        try FileManager.default.removeItem(at: place.files.appendingPathComponent("sub/b.txt"))
        try place.write("new.txt", "new\n")
        let second = try place.objects("backup", place.files.path)
        #expect(second.last?["used_cache"] as? Bool == true)
        #expect(try #require(second.last?["bytes_read"] as? Int) < 100)
        #expect(second.last?["warnings"] as? Int == 0)

        let changes = try place.objects("diff", String(first.prefix(8)), "latest")
        let byPath = Dictionary(
            uniqueKeysWithValues: changes.compactMap { change -> (String, String)? in
                guard let path = change["path"] as? String, let kind = change["change"] as? String else { return nil }
                return (URL(fileURLWithPath: path).lastPathComponent, kind)
            })
        #expect(byPath["a.txt"] == "content")
        #expect(byPath["b.txt"] == "removed")
        #expect(byPath["new.txt"] == "added")
        #expect(changes.last?["type"] as? String == "diff")
        #expect(changes.last?["added"] as? Int == 1)

        let versions = try place.objects("find", "a.txt", "--all-points")
        #expect(versions.map { $0["size"] as? Int } == [6, 15])
        let old = try place.fixture.run("cat", first, place.files.appendingPathComponent("a.txt").path)
        #expect(old.text == "first\n")
    }

    @Test("retention says why, deletes the rest, and reclaim frees it; the newest stays whatever the rules say")
    func retention() throws {
        let place = try Place()
        defer { place.close() }
        _ = try place.makeVaultAndPoint()
        for number in 1...3 {
            try place.write("grow.bin", String(repeating: "\(number) some text \(number * 7919) ", count: 40_000))
            _ = try place.objects("backup", place.files.path)
        }
        let plan = try place.objects("retention", "apply", "--keep-last", "2", "--dry-run")
        #expect(plan.filter { $0["type"] as? String == "decision" && $0["keep"] as? Bool == true }.count == 2)
        #expect(try place.objects("points").count == 4)
        _ = try place.objects("retention", "apply", "--keep-last", "2")
        #expect(try place.objects("points").count == 2)
        _ = try place.objects("vault", "reclaim")
        let sound = try place.objects("vault", "verify", "--level", "data")
        #expect(sound.last?["sound"] as? Bool == true)

        let newest = try #require(try place.objects("points").last?["id"] as? String)
        let refused = try place.fixture.run("points", "delete", newest)
        #expect(refused.status == 1)
        #expect(refused.error.contains("newest complete"))
        let nothing = try place.fixture.run("retention", "apply")
        #expect(nothing.status == 2)
    }

    @Test("points under a hold are not deleted by anything until it is released")
    func holds() throws {
        let place = try Place()
        defer { place.close() }
        let first = try place.makeVaultAndPoint()
        _ = try place.objects("backup", place.files.path)
        let hold = try place.objects("points", "hold", String(first.prefix(8)), "--reference", "case 17")
        let id = try #require(hold.first?["hold"] as? String)
        #expect(try place.fixture.run("points", "delete", first).status == 1)
        _ = try place.objects("retention", "apply", "--keep-last", "1")
        #expect(try place.objects("points").count == 2)
        _ = try place.objects("points", "release", String(id.prefix(8)))
        _ = try place.objects("points", "delete", first)
        #expect(try place.objects("points").count == 1)
    }

    @Test("a wrong passphrase, no passphrase and no vault each end with a message that helps")
    func mistakes() throws {
        var place = try Place()
        defer { place.close() }
        _ = try place.makeVaultAndPoint()
        let wrong = place.fixture.directory.appendingPathComponent("wrong")
        try Data("guess\n".utf8).write(to: wrong)
        let refused = try place.fixture.run("ls", "latest", "--passphrase-file", wrong.path)
        #expect(refused.status == 1)
        #expect(refused.error.contains("Wrong passphrase"))
        #expect(refused.error.contains("\nhint: "))

        place.fixture.environment["HOLDFAST_VAULT"] = place.fixture.directory.appendingPathComponent("none").path
        let missing = try place.fixture.run("points")
        #expect(missing.status == 1)
        #expect(missing.error.contains("is the drive with the vault mounted?"))

        place.fixture.environment["HOLDFAST_VAULT"] = nil
        let unnamed = try place.fixture.run("points")
        #expect(unnamed.status == 2)
        #expect(unnamed.error.contains("--vault LOCATION"))

        let nothing = try place.fixture.run("backup", "/no/such/directory", "--vault", place.vault.path)
        #expect(nothing.status == 1)
        #expect(nothing.error.contains("There is no /no/such/directory."))
    }

    @Test("the key sheet that init shows opens the vault, and a word that is wrong is named")
    func keySheet() throws {
        let place = try Place()
        defer { place.close() }
        let made = try place.objects("vault", "init")
        let words = try #require(made.first?["key_sheet"] as? [String])
        #expect(words.count == 16)
        let sheet = place.fixture.directory.appendingPathComponent("sheet")
        try Data(words.enumerated().map { "\($0.offset + 1). \($0.element)" }.joined(separator: "\n").utf8).write(
            to: sheet)
        _ = try place.objects("vault", "keys", "check-sheet", sheet.path)
        _ = try place.objects("backup", place.files.path)
        let listed = try place.fixture.run("ls", "latest", place.files.path, "--key-sheet", sheet.path)
        #expect(listed.lines.first == "a.txt")

        var broken = words
        broken[4] = "qqqqq"
        try Data(broken.joined(separator: " ").utf8).write(to: sheet)
        let refused = try place.fixture.run("vault", "keys", "check-sheet", sheet.path)
        #expect(refused.status == 2)
        #expect(refused.error.contains("Word 5"))
    }

    @Test("passphrases can be added and removed, but never the last way in")
    func keySlots() throws {
        let place = try Place()
        defer { place.close() }
        _ = try place.makeVaultAndPoint()
        let other = place.fixture.directory.appendingPathComponent("other")
        try Data("another one\n".utf8).write(to: other)
        _ = try place.objects("vault", "keys", "add", "--new-passphrase-file", other.path, "--label", "ann")
        #expect(try place.objects("vault", "keys", "list").count == 3)
        let refused = try place.fixture.run("vault", "keys", "remove", "1")
        #expect(refused.status == 1)
        _ = try place.objects("vault", "keys", "remove", "1", "--passphrase-file", other.path)
        #expect(try place.fixture.run("ls", "latest").status == 1)
        #expect(try place.fixture.run("ls", "latest", "--passphrase-file", other.path).status == 0)
    }

    @Test("a catalog that is gone is made anew, with the same points")
    func rebuild() throws {
        let place = try Place()
        defer { place.close() }
        let point = try place.makeVaultAndPoint()
        for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
            try? FileManager.default.removeItem(at: place.vault.appendingPathComponent(name))
        }
        let points = try place.objects("points")
        #expect(points.map { $0["id"] as? String } == [point])
        let rebuilt = try place.objects("vault", "rebuild")
        #expect(rebuilt.first?["points"] as? Int == 1)
        _ = try place.objects("backup", place.files.path)
        #expect(try place.objects("points").count == 2)
    }

    @Test("names that are not UTF-8 are protected, listed and restored byte for byte")
    func strangeNames() throws {
        let place = try Place()
        defer { place.close() }
        let script =
            "cd '\(place.files.path)' && printf data > \"$(printf 'bad\\377name')\" && printf x > \"$(printf 'tab\\there')\""
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        shell.arguments = ["-c", script]
        try shell.run()
        shell.waitUntilExit()
        _ = try place.makeVaultAndPoint()
        let listed = try place.fixture.run("ls", "latest", place.files.path)
        #expect(listed.lines.contains("bad\\xffname"))
        #expect(listed.lines.contains("tab\\x09here"))
        let objects = try place.objects("find", "bad*")
        let hex = try #require(objects.first?["path_hex"] as? String)
        #expect(hex.hasSuffix("626164ff6e616d65"))
        let target = place.fixture.directory.appendingPathComponent("restored")
        #expect(try place.fixture.run("restore", "latest", "--to", target.path).status == 0)
        let compare = Process()
        compare.executableURL = URL(fileURLWithPath: "/usr/bin/diff")
        compare.arguments = ["-r", "--no-dereference", place.files.path, target.path + place.files.path]
        try compare.run()
        compare.waitUntilExit()
        #expect(compare.terminationStatus == 0)
    }

    @Test("a file that cannot be read is a warning and status 3, never a failed backup")
    func unreadable() throws {
        let place = try Place()
        defer { place.close() }
        // Root reads everything; a process without privileges does not.
        guard getuid() != 0 else { return }
        _ = try place.fixture.run("vault", "init")
        try FileManager.default.setAttributes(
            [.posixPermissions: 0], ofItemAtPath: place.files.appendingPathComponent("a.txt").path)
        let result = try place.fixture.run("backup", place.files.path)
        #expect(result.status == 3)
        #expect(result.error.contains("a.txt"))
    }

    @Test("closing the output early is quiet, as with head")
    func closedOutput() throws {
        let place = try Place()
        defer { place.close() }
        for number in 0..<3_000 { try place.write("sub/file-with-a-rather-long-name-\(number)", "") }
        _ = try place.makeVaultAndPoint()
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        shell.environment = place.fixture.environment
        let noise = place.fixture.directory.appendingPathComponent("noise")
        shell.arguments = [
            "-c", "'\(ProgramFixture.program.path)' ls latest --recursive 2>'\(noise.path)' | head -1 >/dev/null",
        ]
        try shell.run()
        shell.waitUntilExit()
        #expect(try String(contentsOf: noise, encoding: .utf8).isEmpty)
    }
}
