import Foundation
import TestSupport
import Testing

/// What `restore` and `find` say and accept, through the program.
@Suite("Restores say what they do", .serialized)
struct RestoreWordsTests {
    private static func write(_ place: KillPlace, _ name: String, _ text: String) throws {
        let file = place.files.appendingPathComponent(name)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    private static func shell(_ script: String, _ environment: [String: String] = [:]) throws -> (Int32, String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-euc", script]
        if !environment.isEmpty { process.environment = environment }
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    @Test("options without an effect are refused")
    func options() throws {
        let place = try KillPlace("options")
        defer { place.close() }
        for extra in [["--delete-excluded"], ["--owner", "me"], ["--no-sync"], ["--machine", "x"]] {
            #expect(try place.attempt(["restore", "--undo"] + extra).status == 2, "\(extra)")
        }
        let yes = try place.attempt("restore", "latest", "--to", "x", "--yes")
        #expect(yes.status == 2 && yes.error.contains("--yes goes with --undo"), "\(yes.error)")
    }

    @Test("--verify does not call good what it left alone, and the rehearsal of an undo ends with a summary")
    func verifyAndUndo() throws {
        let place = try KillPlace("words")
        defer { place.close() }
        try RestoreWordsTests.write(place, "same", "same")
        try RestoreWordsTests.write(place, "edited", "protected")
        try place.run("backup", place.files.path)
        try RestoreWordsTests.write(place, "edited", "edited since")
        let arguments = ["restore", "latest", place.files.path, "--in-place", "--conflict", "never"]
        #expect(try place.attempt(arguments).status == 0)
        let verified = try place.attempt(arguments + ["--verify"])
        #expect(verified.status == 3, "\(verified.text)\(verified.error)")
        let objects = try ProgramFixture.objects(verified)
        #expect(
            objects.contains {
                $0["kind"] as? String == "conflict" && $0["path"] as? String == place.files.path + "/edited"
            })
        #expect(objects.last?["verified"] as? Int == 1)

        #expect(try place.attempt("restore", "latest", place.files.path, "--in-place").status == 0)
        let planned = try ProgramFixture.objects(place.attempt("restore", "--undo", "--dry-run"))
        #expect(planned.last?["type"] as? String == "undo_plan")
        #expect(planned.last?["return"] as? Int == 1 && planned.last?["remove"] as? Int == 0)
        #expect(planned.last?["complete"] as? Bool == true)
    }

    @Test("owners that nobody here has the name of are listed before anything is changed")
    func owners() throws {
        guard getuid() == 0 else { return }
        let place = try KillPlace("unknown owners")
        defer { place.close() }
        try RestoreWordsTests.write(place, "f", "content")
        let file = place.files.path + "/f"
        try #require(chown(file, 54_321, 54_321) == 0)
        let names = place.directory.path + "/names"
        // What other tests have mounted stays theirs to unmount.
        let (status, text) = try RestoreWordsTests.shell(
            """
            cat /etc/passwd > '\(names)'; echo 'ann-of-old:x:54321:54321::/:/bin/sh' >> '\(names)'
            unshare -m sh -ec "mount --make-rprivate /; umount -l -a -t fuse.holdfast || true; mount --bind '\(names)' /etc/passwd; \
            exec '\(ProgramFixture.program.path)' backup '\(place.files.path)'"
            """, place.fixture.environment)
        guard status == 0 else { return print("skipped: another table of users cannot be mounted: \(text)") }
        try RestoreWordsTests.write(place, "f", "changed, and longer")
        let plan = try place.attempt("restore", "latest", place.files.path, "--in-place", "--dry-run")
        let listed = try ProgramFixture.objects(plan).last?["unknown_users"] as? [[String: Any]]
        #expect(listed?.first?["name"] as? String == "ann-of-old" && listed?.first?["number"] as? Int == 54_321)
        let done = try place.fixture.run(
            "restore", "latest", place.files.path, "--in-place", "--key-sheet", place.directory.path + "/sheet")
        #expect(done.status == 0, "\(done.error)")
        let said = try #require(
            done.error.range(of: "does not know the user ann-of-old (54321); their numbers are used"))
        let kept = try #require(done.error.range(of: "is kept in point"))
        #expect(said.lowerBound < kept.lowerBound)
    }

    @Test("below a directory that may be entered and not read a user protects and restores what is theirs")
    func passages() throws {
        guard getuid() == 0, FileManager.default.isExecutableFile(atPath: "/usr/bin/setpriv") else { return }
        var place = try KillPlace("0711")
        defer { place.close() }
        let home = place.directory.appendingPathComponent("closed/nobody").path
        let (made, text) = try RestoreWordsTests.shell(
            """
            cd '\(place.directory.path)'; mkdir -p closed/nobody/thesis; echo text > closed/nobody/thesis/a
            mkdir -p closed/nobody/.local/state; mv state closed/nobody/.local/state/holdfast
            chown -R 65534:65534 closed/nobody vault; chmod 711 closed; chmod a+r passphrase sheet
            touch -d '2020-01-01 UTC' closed closed/nobody/thesis/a
            """)
        try #require(made == 0, "\(text)")
        place.fixture.environment["HOLDFAST_STATE"] = home + "/.local/state/holdfast"
        place.fixture.environment["HOME"] = home
        func run(_ arguments: String) throws -> (Int32, String) {
            try RestoreWordsTests.shell(
                "cd /; exec setpriv --reuid 65534 --regid 65534 --clear-groups '\(ProgramFixture.program.path)' "
                    + arguments, place.fixture.environment)
        }
        let backup = try run("backup '\(home)/thesis'")
        #expect(backup.0 == 0, "\(backup.1)")
        try Data("changed\n".utf8).write(to: URL(fileURLWithPath: home + "/thesis/a"))
        try Data("new\n".utf8).write(to: URL(fileURLWithPath: home + "/thesis/b"))
        _ = try RestoreWordsTests.shell("chown -R 65534:65534 '\(home)/thesis'")
        let sheet = "--key-sheet '\(place.directory.path)/sheet'"
        let back = try run("restore latest '\(home)/thesis' --in-place --delete \(sheet)")
        #expect(back.0 == 0, "\(back.1)")
        #expect(try String(contentsOfFile: home + "/thesis/a", encoding: .utf8) == "text\n")
        let undone = try run("restore --undo --yes \(sheet)")
        #expect(undone.0 == 0, "\(undone.1)")
        #expect(try String(contentsOfFile: home + "/thesis/a", encoding: .utf8) == "changed\n")
        #expect(FileManager.default.fileExists(atPath: home + "/thesis/b"))
        // What cannot even be entered is said as it is.
        #expect(chmod(place.directory.path + "/closed", 0o700) == 0)
        let refused = try run("--state '\(place.directory.path)/none' backup '\(home)/thesis'")
        #expect(refused.0 != 0)
        #expect(chmod(place.directory.path + "/closed", 0o711) == 0)
        #expect(chmod(home, 0) == 0)
        _ = try RestoreWordsTests.shell("cp -a '\(home)/.local/state/holdfast' '\(place.directory.path)/moved'")
        place.fixture.environment["HOLDFAST_STATE"] = place.directory.path + "/moved"
        place.fixture.environment["HOME"] = "/nonexistent"
        let closed = try run("backup '\(home)/thesis'")
        #expect(closed.0 == 1 && closed.1.lowercased().contains("permission denied"), "\(closed.1)")
    }

    @Test("what cannot be read beside a thousand files that are replaced refuses nothing")
    func crowded() throws {
        guard getuid() == 0, FileManager.default.isExecutableFile(atPath: "/usr/bin/setpriv") else { return }
        var place = try KillPlace("crowded")
        defer { place.close() }
        let home = place.directory.appendingPathComponent("home").path
        let (made, text) = try RestoreWordsTests.shell(
            """
            cd '\(place.directory.path)'; mkdir -p home/.local/state home/many; mv state home/.local/state/holdfast
            cd home/many; for n in $(seq 1100); do mkdir d$n; echo old > d$n/f; done; mkdir secret; echo x > secret/x
            cd ../..; chown -R 65534:65534 home vault; chown -R 0:0 home/many/secret; chmod 700 home/many/secret
            chmod a+r passphrase sheet
            """)
        try #require(made == 0, "\(text)")
        place.fixture.environment["HOLDFAST_STATE"] = home + "/.local/state/holdfast"
        func run(_ arguments: String) throws -> (Int32, String) {
            try RestoreWordsTests.shell(
                "cd /; exec setpriv --reuid 65534 --regid 65534 --clear-groups '\(ProgramFixture.program.path)' "
                    + arguments, place.fixture.environment)
        }
        #expect(try run("backup '\(home)/many'").0 == 3)
        _ = try RestoreWordsTests.shell("cd '\(home)/many'; for n in $(seq 1100); do echo changed > d$n/f; done")
        let sheet = "--key-sheet '\(place.directory.path)/sheet'"
        let back = try run("restore latest '\(home)/many' --in-place \(sheet)")
        #expect(back.0 == 3, "\(back.1)")
        #expect(try String(contentsOfFile: home + "/many/d1100/f", encoding: .utf8) == "old\n")
        // What is itself replaced and cannot be kept first still refuses all.
        _ = try RestoreWordsTests.shell(
            "cd '\(home)/many'; echo changed > d7/f; chown 0:0 d7/f; chmod 600 d7/f")
        let refused = try run("restore latest '\(home)/many' --in-place \(sheet)")
        #expect(refused.0 == 1 && refused.1.contains("cannot all be kept first"), "\(refused.1)")
    }

    @Test("find --all-points lists an unchanged file once, whatever other paths were protected in between")
    func find() throws {
        let place = try KillPlace("find")
        defer { place.close() }
        for name in ["a/same", "a/other", "b/x"] { try RestoreWordsTests.write(place, name, "content of \(name)") }
        let a = place.files.path + "/a"
        let first = try place.run("backup", a).last?["point"] as? String
        try place.run("backup", place.files.path + "/b")
        try RestoreWordsTests.write(place, "a/other", "changed")
        try place.run("backup", a)
        // Its checkpoint holds `other`, and then `same`.
        #expect(try place.attempt("restore", try #require(first), a, "--in-place").status == 0)
        try RestoreWordsTests.write(place, "a/other", "changed again")
        let last = try place.run("backup", a).last?["point"] as? String
        let sheet = place.directory.path + "/sheet"
        let same = try place.run("find", "same", "--all-points", "--key-sheet", sheet)
        #expect(same.count == 1, "\(same)")
        #expect(same.first?["first_point"] as? String == first && same.first?["last_point"] as? String == last)
        let other = try place.run("find", "other", "--all-points", "--key-sheet", sheet)
        #expect(other.map { $0["size"] as? Int } == [18, 7, 13], "\(other)")
    }
}
