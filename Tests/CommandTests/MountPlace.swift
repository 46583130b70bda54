import Foundation
import Glibc
import Testing

/// A machine with files and a vault that is mounted.
final class MountPlace {
    /// Without the device there is nothing to be tried.
    static let isPossible: Bool = {
        let descriptor = open("/dev/fuse", O_RDWR)
        guard descriptor >= 0 else {
            print("skipped: there is no /dev/fuse here, or it cannot be opened")
            return false
        }
        Glibc.close(descriptor)
        let hasHelper = ["/usr/bin/fusermount3", "/bin/fusermount3"].contains {
            FileManager.default.isExecutableFile(atPath: $0)
        }
        if !hasHelper, geteuid() != 0 { print("skipped: there is no fusermount3 here, and this is not root") }
        return hasHelper || geteuid() == 0
    }()
    static let isRoot = geteuid() == 0

    var fixture: ProgramFixture
    private var process: KillableProcess?

    init(hasVault: Bool = true) throws {
        fixture = try ProgramFixture()
        fixture.environment["HOLDFAST_VAULT"] = path("vault")
        fixture.environment["HOLDFAST_PASSPHRASE_FILE"] = path("passphrase")
        // By UTC an hour is never shown twice.
        fixture.environment["TZ"] = "UTC"
        if hasVault { try VaultTemplate.copy(to: fixture.directory) }
        for name in ["files", "points"] {
            try FileManager.default.createDirectory(atPath: path(name), withIntermediateDirectories: true)
        }
    }

    func path(_ name: String) -> String { fixture.directory.appendingPathComponent(name).path }
    var files: String { path("files") }
    /// Where the vault is mounted.
    var mount: String { path("points") }

    func close() {
        unmount()
        process?.kill()
        process?.wait()
        process = nil
        fixture.close()
    }

    /// Runs a command that must succeed.
    @discardableResult
    func run(_ arguments: String...) throws -> ProgramFixture.Result {
        let result = try fixture.run(arguments)
        #expect(result.status == 0, "\(arguments): \(result.status) \(result.error) \(result.text)")
        return result
    }

    func backup() throws { try run("backup", files) }

    /// Mounts in the foreground, with what it says in files, and waits until something is to be seen.
    func start(_ arguments: [String] = []) throws {
        for name in ["said", "warned"] { try? FileManager.default.removeItem(atPath: path(name)) }
        let process = try KillableProcess(
            ProgramFixture.program.path, ["mount", mount] + arguments, environment: fixture.environment,
            output: URL(fileURLWithPath: path("said")), error: URL(fileURLWithPath: path("warned")))
        self.process = process
        let isThere = wait { MountPlace.names(mount)?.isEmpty == false || process.hasEnded }
        #expect(isThere && !process.hasEnded, "\(said) \(warned)")
    }

    var said: String { (try? String(contentsOfFile: path("said"), encoding: .utf8)) ?? "" }
    var warned: String { (try? String(contentsOfFile: path("warned"), encoding: .utf8)) ?? "" }

    func signal(_ number: Int32) { process?.signal(number) }

    /// The status of the program in the foreground, which has to end by now.
    func status() -> Int32? {
        guard let process else { return nil }
        let hasEnded = wait { process.hasEnded }
        #expect(hasEnded, "the program goes on")
        if !hasEnded { process.kill() }
        self.process = nil
        return process.wait()
    }

    @discardableResult
    func unmount() -> Int32 {
        MountPlace.shell(MountPlace.isRoot ? "umount '\(mount)' 2>&1" : "fusermount3 -u '\(mount)' 2>&1").status
    }

    // MARK: Looking

    /// The machine's directory.
    func machine() throws -> String { mount + "/" + (try #require(MountPlace.names(mount)?.first)) }

    /// What was backed up, as the newest point has it.
    func latest() throws -> String { try machine() + "/latest" + files }

    /// The times of all points.
    func times() throws -> [String] { (MountPlace.names(try machine()) ?? []).filter { $0 != "latest" }.sorted() }

    static func names(_ path: String) -> [String]? { try? FileManager.default.contentsOfDirectory(atPath: path) }

    /// Waits until something is so, for at most `seconds`.
    func wait(_ seconds: Double = 20, _ condition: () -> Bool) -> Bool {
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {
            if condition() { return true }
            usleep(50_000)
        }
        return condition()
    }

    @discardableResult
    static func shell(_ script: String) -> (status: Int32, text: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-c", script]
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("holdfast-shell-\(UUID().uuidString)")
        _ = FileManager.default.createFile(atPath: file.path, contents: nil)
        defer { try? FileManager.default.removeItem(at: file) }
        guard let output = try? FileHandle(forWritingTo: file) else { return (-1, "no file for its output") }
        process.standardOutput = output
        process.standardError = output
        process.standardInput = FileHandle.nullDevice
        do { try process.run() } catch { return (-1, "\(error)") }
        process.waitUntilExit()
        return (process.terminationStatus, (try? String(contentsOf: file, encoding: .utf8)) ?? "(not UTF-8)")
    }
}
