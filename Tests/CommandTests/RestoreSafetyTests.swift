import Foundation
import TestSupport
import Testing

/// What a restore must not do to somebody who has only one vault, by the program itself.
@Suite("A restore harms nothing", .serialized)
struct RestoreSafetyTests {
    private struct Place {
        var fixture: ProgramFixture
        let data: String

        /// A vault in `data/vault`, named relatively, and a point of `data`.
        init() throws {
            fixture = try ProgramFixture()
            data = fixture.directory.appendingPathComponent("data").path
            try FileManager.default.createDirectory(atPath: data + "/und", withIntermediateDirectories: true)
            try Data("secret words\n".utf8).write(to: fixture.directory.appendingPathComponent("passphrase"))
            try write("a", "first")
            try write("und/b", "second")
            fixture.environment["HOLDFAST_VAULT"] = "data/vault"
            fixture.environment["HOLDFAST_PASSPHRASE_FILE"] = "passphrase"
            for arguments in [["vault", "init"], ["backup", data]] {
                let result = try fixture.run(arguments)
                #expect(result.status == 0, "\(arguments): \(result.error)")
            }
        }

        func write(_ name: String, _ text: String) throws {
            try Data(text.utf8).write(to: URL(fileURLWithPath: data + "/" + name))
        }
    }

    @Test("--delete leaves the vault alone that lies in what is made exact, however it was named")
    func vaultInside() throws {
        let place = try Place()
        defer { place.fixture.close() }
        try FileManager.default.createSymbolicLink(
            atPath: place.fixture.directory.appendingPathComponent("link").path, withDestinationPath: "data/vault")
        for name in ["data/vault", "./data/../data/vault", "link"] {
            try place.write("extra", "e")
            let vault = ["--vault", name]
            let plan = try place.fixture.run(
                ["restore", "latest", place.data, "--in-place", "--delete", "--dry-run"] + vault)
            #expect(!plan.text.contains("vault"), "\(plan.text)")
            let id = try #require(
                try ProgramFixture.objects(place.fixture.run("points", "--json")).first {
                    $0["kind"] as? String == "manual"
                }?[
                    "id"] as? String)
            let result = try place.fixture.run(["restore", id, place.data, "--in-place", "--delete"] + vault)
            #expect(result.status == 0, "\(result.error)")
            #expect(!FileManager.default.fileExists(atPath: place.data + "/extra"))
            #expect(try place.fixture.run("vault", "verify", "--level", "data").status == 0)
        }
        for target in ["data/vault", "link/packs", "data/vault/new"] {
            let result = try place.fixture.run("restore", "latest", "--to", target)
            #expect(result.status == 2, "\(target): \(result.error)")
        }
    }

    @Test("what was named and is not there ends with 1, before anything is made")
    func missing() throws {
        let place = try Place()
        defer { place.fixture.close() }
        let result = try place.fixture.run("restore", "latest", place.data + "/nothing", "--to", "out")
        #expect(result.status == 1)
        #expect(result.error.contains("is not in this point. Nothing was restored.\nhint: The point holds "))
        #expect(!FileManager.default.fileExists(atPath: place.fixture.directory.appendingPathComponent("out").path))
    }

    @Test("--undo says what it takes back, and newer work goes only when that was meant")
    func undo() throws {
        let place = try Place()
        defer { place.fixture.close() }
        try place.write("a", "changed before")
        #expect(try place.fixture.run("restore", "latest", place.data, "--in-place").status == 0)
        usleep(20_000)
        try place.write("a", "my newer work")
        // With a terminal it would ask.
        if (try? FileHandle(forUpdating: URL(fileURLWithPath: "/dev/tty"))) == nil {
            let refused = try place.fixture.run("restore", "--undo")
            #expect(refused.status == 2)
            #expect(refused.error.contains("1 path returns as before it"), "\(refused.error)")
            #expect(refused.error.contains("1 path was changed since then"))
            #expect(refused.error.contains("--yes"))
            #expect(try String(contentsOfFile: place.data + "/a", encoding: .utf8) == "my newer work")
        }
        let done = try place.fixture.run("restore", "--undo", "--yes")
        #expect(done.status == 0, "\(done.error)")
        #expect(try String(contentsOfFile: place.data + "/a", encoding: .utf8) == "changed before")
    }
}
