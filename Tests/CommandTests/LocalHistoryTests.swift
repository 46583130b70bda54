import Foundation
import TestSupport
import Testing

/// What a person without root gets from the agent of their machine, without a network.
@Suite("The history on the machine itself", .serialized, .enabled(if: geteuid() == 0))
struct LocalHistoryTests {
    /// Somebody who is not root.
    private static let person: UInt32 = 64_321

    private struct Machine {
        var place: KillPlace
        var agent: KillableProcess
        let runtime: String
        /// A copy of the program where everybody can run it.
        let program: String

        init() throws {
            place = try KillPlace("history")
            runtime = place.directory.path + "/runtime"
            program = place.directory.path + "/holdfast"
            try FileManager.default.createDirectory(atPath: runtime, withIntermediateDirectories: true)
            chmod(runtime, 0o755)
            chmod(place.directory.path, 0o755)
            try FileManager.default.copyItem(atPath: ProgramFixture.program.path, toPath: program)
            chmod(program, 0o755)
            place.fixture.environment["HOLDFAST_RUNTIME_DIRECTORY"] = runtime
            for (folder, owner, mode) in [
                ("mine", LocalHistoryTests.person, 0o700), ("theirs", 0, 0o755), ("closed", 0, 0o700),
            ] {
                let path = place.files.path + "/" + folder
                try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
                chmod(path, mode_t(mode))
                chown(path, owner, owner)
            }
            agent = try place.start(["agent", "run", "--protect", place.files.path, "--settle", "0.1"])
            let end = ContinuousClock.now + .seconds(60)
            while ContinuousClock.now < end {
                let status = try place.attempt("agent", "status")
                if status.status != 1, (try ProgramFixture.objects(status).first?["scans"] as? Int ?? 0) > 0 { break }
                usleep(50_000)
            }
        }

        func write(_ name: String, _ text: String, owner: UInt32, mode: mode_t) throws {
            let path = place.files.path + "/" + name
            let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode)
            fchmod(file, mode)
            fchown(file, owner, owner)
            _ = Array(text.utf8).withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            Glibc.close(file)
            try place.run("backup", "--now")
        }

        /// Runs the program as somebody else, without a vault.
        func asPerson(_ arguments: String...) throws -> (status: Int32, output: String) {
            let output = place.directory.appendingPathComponent("output-\(UUID().uuidString)")
            var environment = place.fixture.environment
            environment["HOLDFAST_VAULT"] = nil
            environment["HOLDFAST_STATE"] = "/tmp/nowhere-\(UUID().uuidString)"
            let id = "\(LocalHistoryTests.person)"
            let process = try KillableProcess(
                "/usr/bin/setpriv", ["--reuid=\(id)", "--regid=\(id)", "--clear-groups", program] + arguments,
                environment: environment, output: output)
            let status = process.wait()
            return (status, try String(contentsOf: output, encoding: .utf8))
        }

        func close() {
            agent.kill()
            agent.wait()
            place.close()
        }
    }

    @Test("a person sees and restores their own versions, and nobody else's, with the vault away")
    func person() throws {
        let machine = try Machine()
        defer { machine.close() }
        let person = LocalHistoryTests.person
        for round in 1...3 { try machine.write("mine/letter", "version \(round)\n", owner: person, mode: 0o600) }
        try machine.write("theirs/open", "for all\n", owner: 0, mode: 0o644)
        try machine.write("theirs/private", "for root\n", owner: 0, mode: 0o600)
        try machine.write("closed/inside", "behind a closed door\n", owner: 0, mode: 0o644)
        // It was private when it was captured, and is so in the history, whatever it becomes.
        try machine.write("theirs/once", "was private\n", owner: 0, mode: 0o600)
        try machine.write("theirs/once", "is open\n", owner: 0, mode: 0o644)
        let files = machine.place.files.path
        // The vault is away.
        rename(machine.place.vault.path, machine.place.vault.path + ".away")
        let shown = try machine.asPerson("versions", files + "/mine/letter")
        #expect(shown.status == 0, "\(shown.output)")
        #expect(shown.output.contains("here and in the vault"), "\(shown.output)")
        let listed = try machine.asPerson("versions", files + "/mine/letter", "--json").output
            .split(separator: "\n").map { try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any] }
        #expect(listed.count == 3)
        let target = "/tmp/holdfast-person-\(UUID().uuidString)"
        mkdir(target, 0o777)
        chmod(target, 0o777)
        defer { try? FileManager.default.removeItem(atPath: target) }
        for (index, version) in listed.enumerated() {
            let time = try #require(version?["time"] as? String)
            let restored = try machine.asPerson("restore", "\(files)/mine/letter@\(time)", "--to", "\(target)/\(index)")
            #expect(restored.status == 0, "\(restored.output)")
            let path = "\(target)/\(index)\(files)/mine/letter"
            #expect(try String(contentsOfFile: path, encoding: .utf8) == "version \(index + 1)\n")
            var status = stat()
            #expect(stat(path, &status) == 0 && status.st_uid == person && status.st_mode & 0o777 == 0o600)
        }
        // What stands there is never replaced.
        let again = try machine.asPerson("restore", "\(files)/mine/letter@latest", "--to", "\(target)/0")
        #expect(again.status == 1 && again.output.contains("there already"), "\(again.output)")
        #expect(try machine.asPerson("versions", files + "/theirs/open").status == 0)
        for name in ["theirs/private", "closed/inside", "never/was"] {
            let refused = try machine.asPerson("versions", "\(files)/\(name)")
            #expect(refused.status == 1 && refused.output.contains("no version of"), "\(name): \(refused.output)")
            let restore = try machine.asPerson("restore", "\(files)/\(name)@latest", "--to", "\(target)/x")
            #expect(restore.status == 1, "\(name): \(restore.output)")
        }
        let once = try machine.asPerson("versions", files + "/theirs/once", "--json").output
        #expect(once.split(separator: "\n").count == 1, "\(once)")
        // A link in the way of a restore is not followed.
        let trap = "\(target)/trap"
        mkdir(trap, 0o777)
        chmod(trap, 0o777)
        let first = files.split(separator: "/")[0]
        symlink("/", "\(trap)/\(first)")
        let trapped = try machine.asPerson("restore", "\(files)/mine/letter@latest", "--to", trap)
        #expect(trapped.status == 1, "\(trapped.output)")
        // Nothing but the history can be asked for by everybody.
        let status = try machine.asPerson("agent", "status")
        #expect(status.status == 1, "\(status.output)")
    }
}
