import Foundation
import Testing

/// A vault that the first version of this format made, and that every later version must read. The archive, the key sheet
/// and the manifests in `Tests/Fixtures` never change; `scripts/make-fixture-vault` shows what is in it.
@Suite("The vault of format 1 that is kept for ever")
struct FixtureVaultTests {
    private struct Facts: Decodable {
        struct Point: Decodable {
            var id: String
            var machine: String
            var path: String
            var labels: [String]
            var manifest: String
        }
        struct Held: Decodable {
            var point: String
            var hold: String
        }
        var points: [Point]
        var machines: [String: String]
        var held: Held
        var deleted: String
        /// What `points` said of each.
        var listed: [String]
        var passphrase: String
        var keySheet: [String]
    }

    /// An unpacked copy of the vault.
    private struct Place {
        var fixture: ProgramFixture
        let facts: Facts
        static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        static let fixtures = repository.appendingPathComponent("Tests/Fixtures")

        var vault: URL { fixture.directory.appendingPathComponent("vault") }
        var sheet: String { fixture.directory.appendingPathComponent("sheet").path }

        init() throws {
            let description = try Data(contentsOf: Place.fixtures.appendingPathComponent("vault-format-1.json"))
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            facts = try decoder.decode(Facts.self, from: description)
            fixture = try ProgramFixture()
            let archive = Place.fixtures.appendingPathComponent("vault-format-1.tar").path
            let unpacked = try tool("/bin/tar", ["-xf", archive, "-C", fixture.directory.path])
            #expect(unpacked.status == 0, "\(unpacked.text)")
            // The directories are not in the archive.
            let directories = try FileManager.default.subpathsOfDirectory(atPath: fixture.directory.path)
            for name in directories {
                let path = fixture.directory.appendingPathComponent(name).path
                var isDirectory: ObjCBool = false
                if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue {
                    try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: path)
                }
            }
            fixture.environment["HOLDFAST_VAULT"] = vault.path
            fixture.environment["HOLDFAST_STATE"] = fixture.directory.appendingPathComponent("state-web").path
            try Data(facts.keySheet.joined(separator: " ").utf8).write(to: URL(fileURLWithPath: sheet))
        }

        func close() { fixture.close() }

        func tool(_ program: String, _ arguments: [String]) throws -> (status: Int32, text: String) {
            let log = fixture.directory.appendingPathComponent("tool-\(UUID().uuidString)")
            let process = try KillableProcess(program, arguments, environment: fixture.environment, output: log)
            let status = process.wait()
            return (status, String(decoding: try Data(contentsOf: log), as: UTF8.self))
        }

        func objects(_ arguments: String...) throws -> [[String: Any]] {
            let result = try fixture.run(arguments + ["--json"])
            #expect(result.status == 0, "\(arguments): \(result.error)")
            return try ProgramFixture.objects(result)
        }

        /// Every point restores to its manifest: kinds, names, contents, modes, times, hard links, attributes.
        func checkEveryPoint() throws {
            for point in facts.points {
                let target = fixture.directory.appendingPathComponent("restored-\(point.id)").path
                let restored = try fixture.run("restore", point.id, "--to", target, "--key-sheet", sheet)
                // Without root the owners cannot be set, and the status says so.
                #expect(restored.status == (getuid() == 0 ? 0 : 3), "\(restored.error)")
                try compare(target + point.path, point)
            }
        }

        func compare(_ restored: String, _ point: Facts.Point) throws {
            let expected = try String(
                contentsOf: Place.fixtures.appendingPathComponent(point.manifest), encoding: .utf8)
            let script = Place.repository.appendingPathComponent("scripts/make-fixture-vault").path
            let found = try tool("/usr/bin/python3", [script, "--manifest", restored])
            #expect(found.status == 0, "\(found.text)")
            #expect(expected.split(separator: "\n").count > 30)
            if found.text != expected {
                let (old, new) = (expected.split(separator: "\n"), found.text.split(separator: "\n"))
                let changes = new.difference(from: old).prefix(6).map { "\($0)" }
                Issue.record("point \(point.id) is not what was protected: \(changes)")
            }
        }

        /// The points as the catalog has them.
        func points() throws -> [String] {
            try ["web", "mail"].flatMap { machine in
                try objects("points", "--machine", machine).map { point in
                    let fields = ["id", "machine", "machine_name", "number", "time", "kind", "condition"]
                    return fields.map { "\(point[$0] ?? "-")" }.joined(separator: " ")
                }
            }
        }
    }

    @Test("it opens, is sound to the last blob, and every point restores to what was protected")
    func opens() throws {
        let place = try Place()
        defer { place.close() }
        let facts = place.facts
        let verified = try place.objects("vault", "verify", "--level", "data", "--key-sheet", place.sheet)
        #expect(verified.last?["sound"] as? Bool == true)
        for (name, id) in facts.machines {
            let listed = try place.objects("points", "--machine", name, "--key-sheet", place.sheet)
            let expected = facts.points.filter { $0.machine == name }
            #expect(listed.map { $0["id"] as? String } == expected.map(\.id))
            #expect(listed.map { $0["labels"] as? [String] } == expected.map(\.labels))
            #expect(listed.allSatisfy { $0["machine"] as? String == id && $0["condition"] as? String == "whole" })
            #expect(listed.compactMap { $0["paths"] as? [String] } == expected.map { [$0.path] })
            #expect(
                listed.filter { $0["held"] as? Bool == true }.map { $0["id"] as? String }
                    == expected.map(\.id).filter { $0 == facts.held.point })
        }
        #expect(try place.fixture.run("ls", facts.deleted, "--key-sheet", place.sheet).status == 1)
        #expect(try place.fixture.run("points", "delete", facts.held.point).status == 1)
        try place.checkEveryPoint()
    }

    @Test("its passphrase opens it, and lists a directory with names that are not UTF-8")
    func passphrase() throws {
        let place = try Place()
        defer { place.close() }
        let file = place.fixture.directory.appendingPathComponent("passphrase")
        try Data(place.facts.passphrase.utf8).write(to: file)
        let point = try #require(place.facts.points.first)
        let listed = try place.fixture.run(
            "ls", point.id, point.path + "/names", "--passphrase-file", file.path)
        #expect(listed.lines.contains("not-utf8-\\xff\\xfe"), "\(listed.text)\(listed.error)")
        #expect(listed.lines.count == 4)
    }

    @Test("from its packs alone, and after another rebuild, it has the same points with the same contents")
    func rebuilt() throws {
        let other = try Place()
        defer { other.close() }
        let before = other.facts.listed
        #expect(before.count == other.facts.points.count)
        #expect(try other.points() == before)
        let report = try other.objects("vault", "rebuild")
        #expect(report.first?["points"] as? Int == before.count)
        #expect((report.first?["damaged_points"] as? [String])?.isEmpty == true)
        #expect(try other.points() == before)
        let verified = try other.objects("vault", "verify", "--level", "data", "--key-sheet", other.sheet)
        #expect(verified.last?["sound"] as? Bool == true)
        try other.checkEveryPoint()
    }

    @Test("the reader that was written from the format page alone restores it with the key sheet")
    func independentReader() throws {
        let place = try Place()
        defer { place.close() }
        let script = Place.repository.appendingPathComponent("scripts/read-vault.py").path
        let point = try #require(place.facts.points.last { $0.machine == "web" })
        let target = place.fixture.directory.appendingPathComponent("read").path
        let restored = try place.tool(
            "/usr/bin/python3",
            [
                script, "--key-sheet", place.sheet, place.vault.path, "restore", point.id, point.path + "/links",
                "--to", target,
            ])
        #expect(restored.status == 0, "\(restored.text)")
        let content = try Data(contentsOf: URL(fileURLWithPath: target + point.path + "/links/dangling"))
        #expect(content == Data("a file where a link was\n".utf8))
        let whole = place.fixture.directory.appendingPathComponent("whole").path
        let all = try place.tool(
            "/usr/bin/python3",
            [script, "--key-sheet", place.sheet, place.vault.path, "restore", point.id, "--to", whole])
        #expect(all.status == 0, "\(all.text)")
        try place.compare(whole + point.path, point)
    }

    @Test("both of its machines go on: a new backup into a copy of it stands beside the old points")
    func goesOn() throws {
        var place = try Place()
        defer { place.close() }
        // What is in the vault already comes from a restore of the last point.
        let point = try #require(place.facts.points.last { $0.machine == "web" })
        let target = place.fixture.directory.appendingPathComponent("again").path
        _ = try place.fixture.run("restore", point.id, "--to", target, "--key-sheet", place.sheet)
        let files = target + point.path
        try Data("written later\n".utf8).write(to: URL(fileURLWithPath: files + "/etc/later"))
        for machine in ["web", "mail"] {
            place.fixture.environment["HOLDFAST_STATE"] =
                place.fixture.directory.appendingPathComponent("state-\(machine)").path
            let report = try place.objects("backup", files)
            #expect(report.last?["warnings"] as? Int == 0)
            #expect(report.last?["new_incarnation"] as? Bool == false)
            // Cut and keyed as then: nearly everything is found in the vault.
            let new = try #require(report.last?["new_bytes"] as? Int)
            let bytes = try #require(report.last?["bytes"] as? Int)
            #expect(new < bytes / 10, "\(new) of \(bytes)")
            let content = try place.fixture.run("cat", "latest", files + "/etc/later", "--key-sheet", place.sheet)
            #expect(content.text == "written later\n", "\(content.error)")
        }
        #expect(try place.points().count == place.facts.points.count + 2)
        _ = try place.objects("vault", "reclaim")
        let verified = try place.objects("vault", "verify", "--level", "data", "--key-sheet", place.sheet)
        #expect(verified.last?["sound"] as? Bool == true)
        try place.checkEveryPoint()
    }
}
