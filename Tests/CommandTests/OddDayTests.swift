import Foundation
import TestSupport
import Testing

@Suite("Odd days, through the program")
struct OddDayTests {
    @Test("the estimate of a tree lies within half and twice of what the vault grows by, and duplicates are seen")
    func estimate() throws {
        var place = try KillPlace("estimate")
        defer { place.close() }
        try place.makeFiles(150)
        let text = String(repeating: "some words that compress well, and a number: 17\n", count: 20_000)
        try Data(text.utf8).write(to: place.files.appendingPathComponent("text"))
        let estimate = try #require(try place.run("estimate", place.files.path).last)
        #expect(estimate["against_vault"] as? Bool == true)
        #expect(estimate["files"] as? Int == 152)
        let before = try place.vaultBytes()
        try place.run("backup", place.files.path)
        let grown = try place.vaultBytes() - before
        let stored = try #require(estimate["stored_bytes"] as? Int)
        #expect((grown / 2...grown * 2).contains(stored), "estimated \(stored), grown by \(grown)")

        // The large files of a copy are in the vault already; its small ones are bundled with others there.
        let copy = place.directory.appendingPathComponent("copy")
        try FileManager.default.createDirectory(at: copy, withIntermediateDirectories: true)
        for name in ["large", "text"] {
            try FileManager.default.copyItem(
                at: place.files.appendingPathComponent(name), to: copy.appendingPathComponent(name))
        }
        let again = try #require(try place.run("estimate", copy.path).last)
        let (new, bytes) = (again["new_bytes"] as? Int ?? .max, again["bytes"] as? Int ?? 0)
        #expect(bytes > 2_000_000 && new < bytes / 4, "\(new) of \(bytes)")
    }

    @Test("every command ends with the status that says how it went")
    func statuses() throws {
        var place = try KillPlace("statuses")
        defer { place.close() }
        try place.makeFiles(3)
        let files = place.files.path
        let table: [(arguments: [String], status: Int32)] = [
            (["backup", files], 0), (["points"], 0), (["vault", "verify"], 0), (["vault", "reclaim"], 0),
            (["estimate", files], 0), (["ls", "latest", files], 0), (["backup", files, "--dry-run"], 0),
            (["ls", "ffffffff"], 1), (["ls", "latest", "/not/there"], 1), (["backup", "/not/there"], 1),
            (["restore", "latest", "/not/there", "--to", place.directory.path + "/x"], 1), (["restore", "--undo"], 1),
            (["points", "release", "ffffffff"], 1), (["points", "--vault", "/not/there"], 1),
            (["backup"], 2), (["restore", "latest"], 2), (["restore"], 2), (["nonsense"], 2), (["points", "--odd"], 2),
            (["backup", files, "--compression", "much"], 2), (["retention", "apply"], 2), (["points", "delete"], 2),
            (["ls", "@the day before never"], 2),
        ]
        for (arguments, status) in table {
            let result = try place.attempt(arguments)
            #expect(result.status == status, "\(arguments): \(result.error)")
            // With --json warnings are objects of standard output.
            #expect(result.error.isEmpty == (status == 0 || status == 3), "\(arguments): \(result.error)")
        }
    }

    @Test("of two backups of the same paths at once the second says that it is busy, and the first ends well")
    func busy() throws {
        var place = try KillPlace("busy")
        defer { place.close() }
        try place.makeFiles(3)
        try Data(place.random.bytes(30_000_000)).write(to: place.files.appendingPathComponent("huge"))
        let first = try place.start(["backup", place.files.path])
        func isWriting() -> Bool {
            let names = try? FileManager.default.subpathsOfDirectory(atPath: place.state.path + "/cache")
            return names?.contains { $0.hasSuffix(".writing") } == true
        }
        while !isWriting(), !first.hasEnded { usleep(500) }
        first.stop()
        let second = try place.attempt("backup", place.files.path)
        #expect(second.status == 1)
        #expect(second.error.contains("\"busy\"") && second.error.contains("another backup of these paths"))
        // Another directory may be protected meanwhile.
        let other = try place.attempt("backup", place.files.path + "/directory-0")
        #expect(other.status == 0, "\(other.error)")
        first.resume()
        #expect(first.wait() == 0)
        #expect(try place.run("points").count == 2)
        try place.checkVault(restoring: [:])
    }

    @Test("a vault that is not mounted is said to be missing, and nothing is made in its place")
    func unmounted() throws {
        var place = try KillPlace("unmounted")
        defer { place.close() }
        try place.makeFiles(3)
        try place.run("backup", place.files.path)
        let away = place.directory.appendingPathComponent("away")
        try FileManager.default.moveItem(at: place.vault, to: away)
        for arguments in [["backup", place.files.path], ["points"], ["vault", "verify"], ["vault", "reclaim"]] {
            let gone = try place.attempt(arguments)
            #expect(gone.status == 1)
            #expect(gone.error.contains("is the drive with the vault mounted?"), "\(gone.error)")
        }
        #expect(!FileManager.default.fileExists(atPath: place.vault.path))
        // An empty mount point.
        try FileManager.default.createDirectory(at: place.vault, withIntermediateDirectories: false)
        let empty = try place.attempt("backup", place.files.path)
        #expect(empty.status == 1 && empty.error.contains("there is no vault in"), "\(empty.error)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.vault.path) == [])
        try FileManager.default.removeItem(at: place.vault)
        try FileManager.default.moveItem(at: away, to: place.vault)
        let report = try place.run("backup", place.files.path)
        #expect(report.last?["new_incarnation"] as? Bool == false)
    }

    @Test("without a vault named the command line makes no sense, and the message says how to name one")
    func unnamed() throws {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        for arguments in [["backup", "."], ["points"], ["vault", "stats"], ["restore", "latest", "--to", "x"]] {
            let result = try fixture.run(arguments)
            #expect(result.status == 2, "\(arguments)")
            #expect(result.error.contains("HOLDFAST_VAULT"), "\(result.error)")
        }
    }

    @Test("files that never stop changing are kept as they were read last, and the point says so")
    func changing() throws {
        var place = try KillPlace("changing files")
        defer { place.close() }
        try place.makeFiles(3)
        // One process rewrites both files, each time with the next letter from end to end.
        let script = """
            import os, sys
            files = [(os.open(sys.argv[1] + name, os.O_RDWR | os.O_CREAT), size) for name, size in (("/small", 60000), ("/medium", 200000), ("/big", 5000000))]
            number = 0
            while True:
                for file, size in files:
                    os.pwrite(file, bytes([97 + number % 26]) * size, 0)
                number += 1
            """
        let log = place.directory.appendingPathComponent("writer.log")
        let writer = try KillableProcess(
            "/usr/bin/python3", ["-c", script, place.files.path], environment: place.fixture.environment, output: log)
        defer {
            writer.kill()
            writer.wait()
        }
        func size(_ name: String) -> Int {
            (try? FileManager.default.attributesOfItem(atPath: place.files.path + name)[.size] as? Int) ?? 0
        }
        while size("/big") < 5_000_000, !writer.hasEnded { usleep(1_000) }
        let result = try place.attempt("backup", place.files.path)
        #expect(result.status == 3, "\(result.error)")
        let warnings = try ProgramFixture.objects(result).filter { $0["type"] as? String == "point_warning" }
        #expect(warnings.allSatisfy { $0["reason"] as? String == "changed" })
        let names = warnings.compactMap { ($0["path"] as? String)?.split(separator: "/").last }
        #expect(names.contains("big") && Set(names).isSubset(of: ["big", "medium", "small"]), "\(names)")

        let target = place.directory.appendingPathComponent("target").path
        let restored = try place.attempt("restore", "latest", "--to", target)
        #expect([0, 3].contains(restored.status), "\(restored.error)")
        for (name, size) in [("small", 60_000), ("medium", 200_000), ("big", 5_000_000)] {
            let content = [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(target)\(place.files.path)/\(name)")))
            #expect(content.count == size)
            // Bytes of the writer, some older and some newer; nothing torn, nothing of another file.
            #expect(content.allSatisfy { (97...122).contains($0) }, "\(name)")
        }
        let listed = try place.run("ls", "latest", place.files.path)
        let big = try #require(listed.first { ($0["path"] as? String)?.hasSuffix("/big") == true })
        #expect(big["changed_while_read"] as? Bool == true)
        try place.checkVault(restoring: [:])

        // Once it is quiet the next backup takes it as it is, without a warning.
        writer.kill()
        while !writer.hasEnded { usleep(1_000) }
        try place.run("backup", place.files.path)
        try place.checkVault(restoring: ["latest": place.tree()])
    }

    @Test("without root: what may not be read is named with status 3, and owners that cannot be set are too")
    func unprivileged() throws {
        guard getuid() == 0 else { return }
        var place = try KillPlace("without root")
        defer { place.close() }
        try place.makeFiles(5)
        let secret = place.files.appendingPathComponent("directory-1/below/secret").path
        try Data("of root\n".utf8).write(to: URL(fileURLWithPath: secret))
        let program = place.directory.appendingPathComponent("holdfast").path
        func tool(_ arguments: [String], error: URL? = nil) throws -> (status: Int32, text: String) {
            let log = place.directory.appendingPathComponent("tool.log")
            let process = try KillableProcess(
                arguments[0], Array(arguments.dropFirst()), environment: place.fixture.environment, output: log,
                error: error)
            let status = process.wait()
            return (status, String(decoding: try Data(contentsOf: log), as: UTF8.self))
        }
        // By a process of its own: a file that is open for writing anywhere cannot be run.
        #expect(try tool(["/bin/cp", ProgramFixture.program.path, program]).status == 0)
        #expect(try tool(["/bin/chown", "-R", "65534:65534", place.directory.path]).status == 0)
        #expect(try tool(["/bin/chown", "0:0", secret]).status == 0)
        #expect(try tool(["/bin/chmod", "600", secret]).status == 0)
        // Its own home instead of a named state directory.
        let home = place.directory.appendingPathComponent("home").path
        let state = "\(home)/.local/state"
        #expect(
            try tool(["/usr/bin/install", "-d", "-o", "65534", "-g", "65534", home, "\(home)/.local", state]).status
                == 0)
        try FileManager.default.moveItem(atPath: place.state.path, toPath: "\(state)/holdfast")
        place.fixture.environment["HOLDFAST_STATE"] = nil
        place.fixture.environment["HOME"] = home
        func unprivileged(_ arguments: String...) throws -> (status: Int32, text: String) {
            try tool(
                ["/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", program] + arguments)
        }
        let backup = try unprivileged("backup", place.files.path)
        #expect(backup.status == 3, "\(backup.text)")
        #expect(backup.text.contains("1 warning") && backup.text.contains("below/secret"), "\(backup.text)")

        // Its own files come back without a word; root's point has owners that it may not set.
        let sheet = place.directory.appendingPathComponent("sheet").path
        let own = place.directory.appendingPathComponent("own").path
        let single = try unprivileged(
            "restore", "latest", place.files.path + "/large", "--to", own, "--key-sheet", sheet)
        #expect(single.status == 0, "\(single.text)")
        #expect(
            FileManager.default.contentsEqual(
                atPath: place.files.path + "/large", andPath: own + place.files.path + "/large"))
        let all = place.directory.appendingPathComponent("all").path
        let whole = try unprivileged("restore", "latest", "--to", all, "--key-sheet", sheet)
        #expect(whole.status == 3, "\(whole.text)")
        #expect(whole.text.contains("secret"), "\(whole.text)")
        #expect(try unprivileged("vault", "verify").status == 0)
    }
}

extension KillableProcess {
    /// Halts it where it is.
    func stop() { signal(SIGSTOP) }

    /// Lets it go on.
    func resume() { signal(SIGCONT) }
}
