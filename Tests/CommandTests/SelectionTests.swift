import Foundation
import TestSupport
import Testing

@testable import holdfast

/// What a command line means: which files, which point, which vault.
@Suite("What a command line means", .serialized)
struct SelectionTests {
    private struct Place {
        var fixture: ProgramFixture
        var base: String { fixture.directory.path }

        init() throws {
            fixture = try ProgramFixture()
            try Data("correct horse battery\n".utf8).write(to: fixture.directory.appendingPathComponent("passphrase"))
            fixture.environment["HOLDFAST_VAULT"] = base + "/vault"
            fixture.environment["HOLDFAST_PASSPHRASE_FILE"] = base + "/passphrase"
            let made = try fixture.run("vault", "init", "--json")
            #expect(made.status == 0, "\(made.error)")
            let words = try #require(try ProgramFixture.objects(made).first?["key_sheet"] as? [String])
            try write("sheet", words.joined(separator: " "))
        }

        /// Runs a command; what needs the vault's keys opens it with the key sheet, which takes no time.
        @discardableResult
        func run(_ arguments: String...) throws -> ProgramFixture.Result { try run(arguments) }

        func run(_ arguments: [String]) throws -> ProgramFixture.Result {
            let opens =
                ["ls", "cat", "find", "diff", "restore"].contains(arguments[0]) || arguments.contains("join")
                || arguments.contains("--details")
            return try fixture.run(arguments + (opens ? ["--key-sheet", base + "/sheet"] : []))
        }

        func write(_ name: String, _ text: String = "x\n") throws {
            let file = fixture.directory.appendingPathComponent(name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }

        func objects(_ arguments: String..., status: Int32 = 0) throws -> [[String: Any]] {
            let result = try run(arguments + ["--json"])
            #expect(result.status == status, "\(arguments): \(result.error)")
            return try ProgramFixture.objects(result)
        }

        /// The names of files in the newest point, below the fixture's directory.
        func files() throws -> Set<String> {
            let listed = try objects("ls", "latest", base, "--recursive")
            return Set(
                listed.filter { $0["kind"] as? String == "file" }
                    .compactMap { ($0["path"] as? String)?.dropFirst(base.count + 1) }.map(String.init))
        }

        func point(_ objects: [[String: Any]]) throws -> String { try #require(objects.last?["point"] as? String) }
    }

    @Test("a path below a symbolic link is the one that it leads to, and the program says so")
    func belowLink() throws {
        let place = try Place()
        defer { place.fixture.close() }
        try place.write("real/sub/file")
        try FileManager.default.createSymbolicLink(atPath: place.base + "/link", withDestinationPath: "real")
        let result = try place.run("backup", "link/sub")
        #expect(result.status == 0)
        #expect(result.error.contains("\(place.base)/link/sub is \(place.base)/real/sub."))
        #expect(try place.files() == ["real/sub/file"])
        // The link itself, when it is the end of a path; what it leads to with a slash behind it.
        let link = try place.run("backup", "link")
        #expect(link.status == 3)
        #expect(link.error.contains("symbolic link"))
        #expect(try place.run("backup", "link", "real").status == 0)
        #expect(try place.objects("backup", "link/").last?["files"] as? Int == 1)
        #expect(try place.run("backup", "link/nothing").status == 1)
        #expect(try place.run("backup", "real/sub/../sub").status == 0)
        #expect(try place.files() == ["real/sub/file"])
    }

    @Test("a vault is not made in a directory that is in use")
    func initInUse() throws {
        let place = try Place()
        defer { place.fixture.close() }
        try place.write("full/file")
        let refused = try place.run("vault", "init", "--vault", "full")
        #expect(refused.status == 1)
        #expect(refused.error.contains("--vault full/vault"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.base + "/full") == ["file"])
        // What mkfs leaves is no use.
        try FileManager.default.createDirectory(
            atPath: place.base + "/disk/lost+found", withIntermediateDirectories: true)
        #expect(try place.run("vault", "init", "--vault", "disk").status == 0)
        #expect(try place.run("vault", "init", "--vault", "disk").error.contains("there is a vault"))
        try FileManager.default.removeItem(atPath: place.base + "/disk/config.json")
        let lost = try place.run("vault", "init", "--vault", "disk")
        #expect(lost.status == 1 && lost.error.contains("config.json"))
    }

    @Test("the vault and the state are left out with a remark, and with a warning when they are what was asked for")
    func ownDirectories() throws {
        let place = try Place()
        defer { place.fixture.close() }
        try place.write("file")
        let objects = try place.objects("backup", place.base)
        #expect(
            Set(objects.last?["left_out"] as? [String] ?? []) == [place.base + "/vault", place.base + "/state"])
        let text = try place.run("backup", place.base)
        #expect(text.error.contains("Left out: "))
        #expect(try place.run("backup", place.base + "/vault").status == 3)
        #expect(try place.run("backup", place.base + "/vault/packs").status == 1)
    }

    @Test("patterns of a file are those of a .gitignore in each path; a path that is spelled out stays one")
    func excludeFrom() throws {
        let place = try Place()
        defer { place.fixture.close() }
        for name in ["sub/build", "sub/keep", "doc/a.txt", "doc/b.md", "deep/a/x/f", "top", "deep/top", "cache/x"] {
            try place.write("data/" + name)
        }
        try place.write("patterns", "sub/build\n/doc/*.txt\na/**/f\ndeep/a/**/f\n/top\n\(place.base)/data/cache\n")
        #expect(try place.run("backup", "data", "--exclude-from", "patterns").status == 0)
        #expect(try place.files() == ["data/sub/keep", "data/doc/b.md", "data/deep/top"])
        // A pattern that matches what was named does nothing, and says so.
        let root = try place.run("backup", "data", "--exclude", place.base + "/data")
        #expect(root.status == 3)
        #expect(root.error.contains("matches \(place.base)/data itself"))
        #expect(try place.run("backup", "data", "--exclude", "other").status == 0)
    }

    @Test("latest is no checkpoint, and where paths are given a point of what holds them")
    func latest() throws {
        let place = try Place()
        defer { place.fixture.close() }
        try place.write("one/file", "good\n")
        try place.write("two/file", "two\n")
        let one = try place.point(try place.objects("backup", "one"))
        let two = try place.point(try place.objects("backup", "two"))
        try place.write("one/file", "bad, and longer\n")
        _ = try place.objects("backup", "one", "--kind", "checkpoint")
        #expect(try place.run("cat", "latest", "one/file").text == "good\n")
        #expect(try place.run("cat", "@now", "two/file").text == "two\n")
        #expect(try place.run("cat", "latest", "one/file").error.contains(String(one.prefix(8))))
        #expect(!(try place.run("cat", "latest", "two/file").error.contains(String(two.prefix(8)))))
        #expect(try place.run("ls", "latest", place.base).lines == ["two/"])
        #expect(try place.run("restore", "latest", "one/file", "--in-place").status == 0)
        #expect(try String(contentsOfFile: place.base + "/one/file", encoding: .utf8) == "good\n")
        // The restore made a checkpoint: running it again still means the good one.
        try place.write("one/file", "bad, and longer\n")
        #expect(try place.run("restore", "latest", "one/file", "--in-place").status == 0)
        #expect(try String(contentsOfFile: place.base + "/one/file", encoding: .utf8) == "good\n")
    }

    @Test("relative paths begin at the working directory in every command")
    func relativePaths() throws {
        let place = try Place()
        defer { place.fixture.close() }
        try place.write("data/sub/file")
        let point = try place.point(try place.objects("backup", "data"))
        #expect(try place.run("ls", "latest", "data").lines == ["sub/"])
        #expect(try place.run("ls", "latest", "data/../data/sub").lines == ["file"])
        #expect(try place.run("cat", "latest", "./data/sub/file").text == "x\n")
        #expect(try place.objects("find", "data/*/file").count == 1)
        #expect(try place.objects("diff", point, point, "data").count == 1)
        #expect(try place.run("restore", "latest", "data/sub", "--to", "out").status == 0)
        #expect(FileManager.default.fileExists(atPath: "\(place.base)/out\(place.base)/data/sub/file"))
        let missing = try place.run("ls", "latest", "nothing")
        #expect(missing.status == 1 && missing.error.contains("\(place.base)/nothing is not in this point"))
        let neither = try place.run("diff", point, point, "nothing")
        #expect(neither.status == 1 && neither.error.contains("\(place.base)/nothing is in neither"))
    }

    @Test(
        "another machine's point is not put in place of this one's files without its name, and names are not taken twice"
    )
    func otherMachine() throws {
        var place = try Place()
        defer { place.fixture.close() }
        try place.write("file", "mine\n")
        _ = try place.objects("backup", "file")
        place.fixture.environment["HOLDFAST_STATE"] = place.base + "/state-2"
        #expect(try place.run("vault", "join", "--name", "second").status == 0)
        try place.write("file", "theirs\n")
        let theirs = try place.point(try place.objects("backup", "file"))
        place.fixture.environment["HOLDFAST_STATE"] = place.base + "/state"
        try place.write("file", "mine\n")
        let refused = try place.run("restore", String(theirs.prefix(8)), "file", "--in-place")
        #expect(refused.status == 2 && refused.error.contains("--machine second"))
        #expect(try String(contentsOfFile: place.base + "/file", encoding: .utf8) == "mine\n")
        #expect(try place.run("ls", theirs).error.contains("is of second"))
        let named = try place.run("restore", theirs, "file", "--in-place", "--machine", "second")
        #expect(named.status == 0, "\(named.error)")
        #expect(try String(contentsOfFile: place.base + "/file", encoding: .utf8) == "theirs\n")

        place.fixture.environment["HOLDFAST_STATE"] = place.base + "/state-3"
        let taken = try place.run("vault", "join", "--name", "second")
        #expect(taken.status == 1 && taken.error.contains("called \"second\""))
        #expect(try place.run("vault", "join", "--name", "third").status == 0)
        #expect(try place.run("vault", "join", "--name", "third").status == 0)
    }

    @Test("points are deleted by at least four digits, and scripts are not asked")
    func delete() throws {
        let place = try Place()
        defer { place.fixture.close() }
        try place.write("file")
        let first = try place.point(try place.objects("backup", "file"))
        _ = try place.objects("backup", "file")
        let short = try place.run("points", "delete", String(first.prefix(3)))
        #expect(short.status == 2 && short.error.contains("four digits"))
        #expect(try place.objects("points").count == 2)
        #expect(try place.run("points", "delete", String(first.prefix(4))).status == 0)
        #expect(try place.objects("points").count == 1)
    }

    @Test("a dry run names its warnings and ends with 3; files that were too large are counted")
    func dryRun() throws {
        let place = try Place()
        defer { place.fixture.close() }
        try place.write("data/small")
        try place.write("data/large", String(repeating: "x", count: 5_000))
        let counted = try place.objects("backup", "data", "--exclude-larger-than", "1kB")
        #expect(counted.last?["files_too_large"] as? Int == 1)
        #expect(try place.run("backup", "data", "--exclude-larger-than", "1kB").error.contains("1 file was left out"))
        for file in try FileManager.default.contentsOfDirectory(atPath: place.base + "/data") {
            try FileManager.default.removeItem(atPath: place.base + "/data/" + file)
        }
        let objects = try place.objects("backup", "data", "--dry-run", "--exclude-larger-than", "1kB", status: 3)
        #expect(objects.map { $0["type"] as? String } == ["point_warning", "dry_run"])
        #expect(objects.last?["warnings"] as? Int == 1)
    }

    @Test("names that are odd are exact in JSON")
    func oddNames() throws {
        let place = try Place()
        defer { place.fixture.close() }
        let odd = "back\\slash \"quoted\" \u{7F}\u{85}\u{202E}é\n\t"
        try place.write("data/" + odd + "/" + odd)
        _ = try place.objects("backup", "data/" + odd)
        let point = try place.objects("points", "--details")
        #expect(point.first?["paths"] as? [String] == [place.base + "/data/" + odd])
        #expect(try place.files() == ["data/" + odd + "/" + odd])
    }

    @Test("a signal at the question for a passphrase ends the program, with the echo as it was", arguments: [2, 15])
    func signalAtPrompt(signal: Int) throws {
        var place = try Place()
        defer { place.fixture.close() }
        place.fixture.environment["HOLDFAST_PASSPHRASE_FILE"] = nil
        // Control-C as a person types it; SIGTERM as a service manager sends it.
        let script = """
            import fcntl, os, pty, select, signal, subprocess, sys, termios, time
            master, slave = pty.openpty()
            def begin():
                os.setsid()
                # The threads of tests block signals, and children inherit that.
                signal.pthread_sigmask(signal.SIG_SETMASK, [])
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            process = subprocess.Popen(sys.argv[2:], stdin=slave, stdout=slave, stderr=slave, preexec_fn=begin)
            shown = b""
            end = time.time() + 30
            while b"Passphrase" not in shown and time.time() < end:
                if select.select([master], [], [], 1)[0]:
                    shown += os.read(master, 1000)
            echo = lambda: bool(termios.tcgetattr(slave)[3] & termios.ECHO)
            silent = False
            while not silent and time.time() < end:
                silent = not echo()
            if sys.argv[1] == "2":
                os.write(master, b"\\x03")
            else:
                process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                status = "hangs"
            print(silent, status, echo())
            """
        try Data(script.utf8).write(to: place.fixture.directory.appendingPathComponent("script.py"))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = [place.base + "/script.py", String(signal), ProgramFixture.program.path, "ls", "latest"]
        process.environment = place.fixture.environment
        let output = Pipe()
        process.standardOutput = output
        process.standardInput = FileHandle.nullDevice
        _ = try place.objects("backup", place.base + "/passphrase")
        try process.run()
        let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(said == "True \(128 + signal) True\n")
    }
}
