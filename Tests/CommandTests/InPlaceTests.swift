import Foundation
import Testing

@Suite("Restores in place, through the program")
struct InPlaceTests {
    /// A directory that was protected and then worked on: `edited` is newer than the point's, `older` older, `lost` is
    /// gone, `extra` is new.
    private struct Place {
        var base: KillPlace
        let point: String
        let protected: FileTree
        let worked: FileTree

        init() throws {
            base = try KillPlace("restore in place")
            try FileManager.default.createDirectory(
                at: base.files.appendingPathComponent("sub"), withIntermediateDirectories: true)
            for name in ["same", "edited", "older", "lost", "sub/deep"] {
                try InPlaceTests.write(base, name, "protected \(name)\n")
            }
            for name in ["same", "edited", "older", "lost", "sub/deep"] {
                try InPlaceTests.age(base, name, 1_700_000_000)
            }
            let report = try base.run("backup", base.files.path)
            point = try #require(report.last?["point"] as? String)
            protected = try base.tree()
            try InPlaceTests.write(base, "edited", "edited since\n")
            try InPlaceTests.write(base, "older", "put back from an old copy\n")
            try InPlaceTests.age(base, "older", 1_600_000_000)
            try InPlaceTests.write(base, "extra", "new since\n")
            try InPlaceTests.write(base, "sub/extra", "new since\n")
            try FileManager.default.removeItem(at: base.files.appendingPathComponent("lost"))
            worked = try base.tree()
        }

        func close() { base.close() }

        func restore(_ options: String...) throws -> ProgramFixture.Result {
            try base.attempt(["restore", point, base.files.path, "--in-place"] + options)
        }

        /// What a file has now.
        func content(_ tree: FileTree, _ name: String) -> String? {
            tree.nodes[Array(name.utf8)].map { String(decoding: $0.content, as: UTF8.self) }
        }

        func checkUndo() throws {
            let undone = try base.attempt("restore", "--undo")
            #expect(undone.status == 0, "\(undone.error)")
            #expect(try base.tree().differences(from: worked) == [])
        }
    }

    fileprivate static func write(_ place: KillPlace, _ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: place.files.appendingPathComponent(name))
    }

    @Test(
        "a conflict is decided as the rule says, and --undo brings back what was",
        arguments: ["always", "newer", "never", "rename"])
    func conflicts(rule: String) throws {
        let place = try Place()
        defer { place.close() }
        let result = try place.restore("--conflict", rule)
        #expect([0, 3].contains(result.status), "\(result.error)")
        let tree = try place.base.tree()
        let replacesNewer = rule == "always"
        let replacesOlder = rule == "always" || rule == "newer"
        #expect(place.content(tree, "edited") == (replacesNewer ? "protected edited\n" : "edited since\n"))
        #expect(place.content(tree, "older") == (replacesOlder ? "protected older\n" : "put back from an old copy\n"))
        #expect(place.content(tree, "lost") == "protected lost\n")
        #expect(place.content(tree, "extra") == "new since\n")
        let added = Set(tree.nodes.keys).subtracting(place.worked.nodes.keys).subtracting([Array("lost".utf8)])
        let beside = added.compactMap { place.content(tree, String(decoding: $0, as: UTF8.self)) }
        #expect(beside.sorted() == (rule == "rename" ? ["protected edited\n", "protected older\n"] : []))
        try place.checkUndo()
    }

    @Test("without --conflict what is there is replaced, and --delete removes what the point does not have")
    func deletes() throws {
        let place = try Place()
        defer { place.close() }
        let result = try place.restore("--delete")
        #expect(result.status == 0, "\(result.error)")
        #expect(try place.base.tree().differences(from: place.protected) == [])
        let report = try #require(try ProgramFixture.objects(result).last)
        #expect(report["removed"] as? Int == 2)
        // What was replaced and removed is a point of its own, which --undo uses.
        #expect(try place.base.run("points").count == 2)
        try place.checkUndo()
        // And taking back can be taken back.
        #expect(try place.base.attempt("restore", "--undo").status == 0)
        #expect(try place.base.tree().differences(from: place.protected) == [])
    }

    @Test("--dry-run says what would happen and changes nothing, neither files nor vault nor what --undo takes back")
    func dryRun() throws {
        let place = try Place()
        defer { place.close() }
        let before = try (FileTree(place.base.vault.path + "/packs"), FileTree(place.base.state.path + "/heads"))
        let result = try place.restore("--delete", "--dry-run")
        #expect(result.status == 0, "\(result.error)")
        let plan = try #require(try ProgramFixture.objects(result).last)
        func count(_ name: String) -> Int? { (plan[name] as? [String: Any])?["count"] as? Int }
        #expect(count("create") == 1 && count("overwrite") == 2 && count("remove") == 2)
        let planned = try ProgramFixture.objects(result).filter { $0["type"] as? String == "planned" }
        let removed = planned.filter { $0["action"] as? String == "remove" }.compactMap { $0["path"] as? String }
        #expect(removed.sorted() == ["extra", "sub/extra"].map { "\(place.base.files.path)/\($0)" })
        #expect(try place.base.tree().differences(from: place.worked) == [])
        #expect(try FileTree(place.base.vault.path + "/packs").differences(from: before.0) == [])
        #expect(try FileTree(place.base.state.path + "/heads").differences(from: before.1) == [])
        let undo = try place.base.attempt("restore", "--undo")
        #expect(undo.status == 1 && undo.error.contains("no restore in place to take back"))
        let left = try FileManager.default.contentsOfDirectory(atPath: place.base.state.path)
        #expect(!left.contains { $0.hasPrefix("last-restore") && !$0.hasSuffix(".lock") }, "\(left)")
    }

    @Test("--owner numbers, me and map decide whose the files are")
    func owners() throws {
        guard getuid() == 0 else { return }
        var place = try KillPlace("owners")
        defer { place.close() }
        try place.makeFiles(3)
        let file = place.files.appendingPathComponent("large").path
        try #require(chown(file, 54_321, 54_322) == 0)
        try place.run("backup", place.files.path)
        let map = place.directory.appendingPathComponent("map")
        try Data("user 54321 7\ngroup 54322 8\n".utf8).write(to: map)
        for (owner, expected) in [("numbers", (54_321, 54_322)), ("me", (0, 0))] {
            let target = place.directory.appendingPathComponent("as-\(owner)").path
            try place.run("restore", "latest", file, "--to", target, "--owner", owner)
            var status = stat()
            #expect(lstat(target + file, &status) == 0)
            #expect((Int(status.st_uid), Int(status.st_gid)) == expected, "\(owner)")
        }
        let wrong = try place.attempt("restore", "latest", "--to", "x", "--owner", "nobody-knows")
        #expect(wrong.status == 2)
    }

    fileprivate static func age(_ place: KillPlace, _ name: String, _ seconds: Int) throws {
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: TimeInterval(seconds))],
            ofItemAtPath: place.files.appendingPathComponent(name).path)
    }
}
