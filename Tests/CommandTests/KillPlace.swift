import Foundation
import TestSupport
import Testing

/// A vault that is made once, and copied for each test that kills something: making one costs seconds, copying none.
enum VaultTemplate {
    private struct Made {
        var directory: URL
        var error: (any Error)?
    }

    private nonisolated(unsafe) static var leftover: String?

    private static let made: Made = {
        do {
            let fixture = try ProgramFixture()
            leftover = fixture.directory.path
            atexit { if let path = VaultTemplate.leftover { try? FileManager.default.removeItem(atPath: path) } }
            try Data("correct horse battery\n".utf8).write(to: fixture.directory.appendingPathComponent("passphrase"))
            let result = try fixture.run(
                "vault", "init", "--vault", "vault", "--passphrase-file", "passphrase", "--json")
            let words = try ProgramFixture.objects(result).first?["key_sheet"] as? [String] ?? []
            try Data(words.joined(separator: " ").utf8).write(to: fixture.directory.appendingPathComponent("sheet"))
            try? FileManager.default.removeItem(at: fixture.directory.appendingPathComponent("vault/reserve"))
            return Made(directory: fixture.directory, error: words.count == 16 ? nil : MissingWords(text: result.error))
        } catch {
            return Made(directory: URL(fileURLWithPath: "/nonexistent"), error: error)
        }
    }()

    struct MissingWords: Error { var text: String }

    /// Copies vault, state, passphrase and key sheet into a directory.
    static func copy(to directory: URL) throws {
        if let error = made.error { throw error }
        for name in ["vault", "state", "passphrase", "sheet"] {
            try FileManager.default.copyItem(
                at: made.directory.appendingPathComponent(name), to: directory.appendingPathComponent(name))
        }
    }
}

/// A process that can be killed at an instant. Its end is collected only by `wait`, so its id is its own until then.
struct KillableProcess {
    private let id: pid_t
    let started = ContinuousClock.now

    struct CannotStart: Error { var code: Int32 }

    /// Starts a program with its output written to files; both to one without `error`.
    init(_ program: String, _ arguments: [String], environment: [String: String], output: URL, error: URL? = nil) throws
    {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output.path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        if let error {
            posix_spawn_file_actions_addopen(&actions, 2, error.path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        } else {
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
        }
        var argv: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
        var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") }
        argv.append(nil)
        envp.append(nil)
        defer { for pointer in argv + envp { free(pointer) } }
        // Threads of the tests block signals, which the program would inherit.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var id: pid_t = 0
        let code = posix_spawn(&id, program, &actions, &attributes, argv, envp)
        guard code == 0 else { throw CannotStart(code: code) }
        self.id = id
    }

    /// Whether it has ended; it is not collected.
    var hasEnded: Bool {
        var info = siginfo_t()
        return waitid(P_PID, id_t(id), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_signo != 0
    }

    func kill() { signal(SIGKILL) }

    func signal(_ number: Int32) { _ = Glibc.kill(id, number) }

    /// Kills it that long after its start, or leaves it alone when it has ended before.
    func kill(after instant: Duration) {
        let rest = instant - (ContinuousClock.now - started)
        if rest > .zero {
            usleep(UInt32(rest.components.seconds * 1_000_000 + rest.components.attoseconds / 1_000_000_000_000))
        }
        kill()
    }

    /// The exit status; the negative number of the signal that ended it.
    @discardableResult
    func wait() -> Int32 {
        var status: Int32 = 0
        while waitpid(id, &status, 0) < 0, errno == EINTR {}
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : -(status & 0x7F)
    }
}

/// A machine with files and a vault, whose commands are killed.
struct KillPlace {
    /// `HOLDFAST_KILL_SEED` brings a run back, as far as the machine's own timing allows.
    static let seed =
        ProcessInfo.processInfo.environment["HOLDFAST_KILL_SEED"].flatMap { UInt64($0) } ?? .random(in: 1...(1 << 40))
    /// `HOLDFAST_KILL_ROUNDS` multiplies the kills of each test.
    static let rounds = ProcessInfo.processInfo.environment["HOLDFAST_KILL_ROUNDS"].flatMap { Int($0) } ?? 1

    var fixture: ProgramFixture
    var random: SeededGenerator
    let name: String

    var directory: URL { fixture.directory }
    var files: URL { directory.appendingPathComponent("files") }
    var vault: URL { directory.appendingPathComponent("vault") }
    var state: URL { directory.appendingPathComponent("state") }

    /// - Parameter hasVault: whether a vault, which the machine has joined, is there already.
    init(_ name: String, hasVault: Bool = true) throws {
        self.name = name
        print("\(name): HOLDFAST_KILL_SEED=\(KillPlace.seed)")
        random = SeededGenerator(seed: name.utf8.reduce(KillPlace.seed) { $0 &* 31 &+ UInt64($1) })
        fixture = try ProgramFixture()
        fixture.environment["HOLDFAST_VAULT"] = vault.path
        if hasVault { try VaultTemplate.copy(to: directory) }
    }

    func close() { fixture.close() }

    // MARK: Files

    /// Some hundred files, small and large.
    mutating func makeFiles(_ count: Int = 200) throws {
        for index in 0..<count {
            let folder = files.appendingPathComponent("directory-\(index % 15)/below")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            let size = Int.random(in: 0...12_000, using: &random)
            try Data(random.bytes(size)).write(to: folder.appendingPathComponent("file-\(index)"))
        }
        try Data(random.bytes(2_000_000)).write(to: files.appendingPathComponent("large"))
        try FileManager.default.createSymbolicLink(
            atPath: files.appendingPathComponent("link").path, withDestinationPath: "large")
    }

    /// A day's work: files are changed, made and removed.
    mutating func changeFiles() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: files.path)
            .filter { $0.hasPrefix("directory-") }.sorted()
        for folder in folders.shuffled(using: &random).prefix(6) {
            let below = files.appendingPathComponent("\(folder)/below")
            let names = try FileManager.default.contentsOfDirectory(atPath: below.path).sorted()
            for name in names.shuffled(using: &random).prefix(4) {
                let file = below.appendingPathComponent(name)
                if Bool.random(using: &random) || names.count < 6 {
                    try Data(random.bytes(Int.random(in: 1...20_000, using: &random))).write(to: file)
                } else {
                    try FileManager.default.removeItem(at: file)
                }
            }
            try Data(random.bytes(3_000)).write(to: below.appendingPathComponent("new-\(random.next() % 1_000_000)"))
        }
        let large = try FileHandle(forWritingTo: files.appendingPathComponent("large"))
        try large.seek(toOffset: .random(in: 0..<1_900_000, using: &random))
        try large.write(contentsOf: random.bytes(40_000))
        try large.close()
    }

    func tree() throws -> FileTree { try FileTree(files.path) }

    // MARK: Commands

    private static let needingKeys: Set<String> = ["restore", "ls", "cat"]

    private func complete(_ arguments: [String]) -> [String] {
        let needsKeys = KillPlace.needingKeys.contains(arguments[0]) || arguments.contains("data")
        return arguments + (needsKeys ? ["--key-sheet", directory.path + "/sheet"] : []) + ["--json"]
    }

    /// Runs a command that must succeed, and gives what it printed.
    @discardableResult
    func run(_ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) throws -> [[String: Any]] {
        let result = try runToEnd(arguments)
        #expect(result.status == 0, "\(context): \(arguments): \(result.error)", sourceLocation: sourceLocation)
        return try ProgramFixture.objects(result)
    }

    /// Runs a command whose success is not known beforehand.
    func attempt(_ arguments: String...) throws -> ProgramFixture.Result { try runToEnd(arguments) }

    func attempt(_ arguments: [String]) throws -> ProgramFixture.Result { try runToEnd(arguments) }

    private func runToEnd(_ arguments: [String]) throws -> ProgramFixture.Result {
        let files = ["output", "error"].map { directory.appendingPathComponent("\($0).log") }
        let process = try KillableProcess(
            ProgramFixture.program.path, complete(arguments), environment: fixture.environment, output: files[0],
            error: files[1])
        let status = process.wait()
        return ProgramFixture.Result(
            status: status, output: Array(try Data(contentsOf: files[0])),
            error: try String(contentsOf: files[1], encoding: .utf8))
    }

    /// For messages of failures.
    var context: String { "\(name), seed \(KillPlace.seed)" }

    func start(_ arguments: [String]) throws -> KillableProcess {
        try KillableProcess(
            ProgramFixture.program.path, complete(arguments), environment: fixture.environment,
            output: directory.appendingPathComponent("killed.log"))
    }

    /// How long a command takes that nobody disturbs.
    func measure(_ arguments: String...) throws -> Duration {
        let process = try start(arguments)
        let status = process.wait()
        let log = (try? String(contentsOf: directory.appendingPathComponent("killed.log"), encoding: .utf8)) ?? ""
        #expect(status == 0, "\(context): \(arguments): \(log)")
        return ContinuousClock.now - process.started
    }

    /// Random instants, one in each part of a duration, and a little beyond its end: kills land in all phases.
    mutating func instants(_ count: Int, over duration: Duration) -> [Duration] {
        let total = count * KillPlace.rounds
        return (0..<total).map { index in
            duration * ((Double(index) + Double.random(in: 0..<1, using: &random)) / Double(total) * 1.05)
        }.shuffled(using: &random)
    }

    /// Runs a command and kills it. Answers whether it was killed before its end.
    @discardableResult
    func kill(_ arguments: String..., after instant: Duration) throws -> Bool {
        let process = try start(arguments)
        process.kill(after: instant)
        let status = process.wait()
        #expect(status == -SIGKILL || status == 0, "\(context): \(arguments) ended with \(status)")
        return status == -SIGKILL
    }

    // MARK: What must hold

    /// The vault's points; one that is not in `expected` is of a killed backup that got that far, and must hold
    /// `current`.
    func points(_ expected: inout [String: FileTree], current: FileTree) throws {
        let ids = Set(try run("points").compactMap { $0["id"] as? String })
        #expect(ids.isSuperset(of: expected.keys), "\(context): a committed point is gone")
        let unknown = ids.subtracting(expected.keys)
        #expect(unknown.count <= 1, "\(context)")
        for id in unknown { expected[id] = current }
    }

    /// The vault is sound, and these points restore to what was protected.
    func checkVault(
        level: String = "data", restoring points: [String: FileTree], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let verified = try attempt("vault", "verify", "--level", level)
        #expect(verified.status == 0, "\(context): \(verified.text)\(verified.error)", sourceLocation: sourceLocation)
        for (point, expected) in points {
            let target = directory.appendingPathComponent("check-\(UUID().uuidString)")
            defer { try? FileManager.default.removeItem(at: target) }
            let restored = try attempt("restore", point, "--to", target.path)
            #expect(restored.status == 0, "\(context): \(restored.error)", sourceLocation: sourceLocation)
            let differences = try FileTree(target.path + files.path).differences(from: expected)
            #expect(differences == [], "\(context): point \(point)", sourceLocation: sourceLocation)
        }
    }

    private func isEmptyDirectory(_ name: String) -> Bool {
        (try? FileManager.default.contentsOfDirectory(atPath: vault.appendingPathComponent(name).path).isEmpty) == true
    }

    /// After a reclaim nothing lies in the vault or the machine's state that nobody will ever remove.
    func checkNoGarbage(sourceLocation: SourceLocation = #_sourceLocation) throws {
        try run("vault", "reclaim")
        let stats = try #require(try run("vault", "stats").first)
        let known = ["data", "meta", "records"].compactMap { (stats[$0] as? [String: Any])?["packs"] as? Int }
        let names = try FileManager.default.subpathsOfDirectory(atPath: vault.path)
        let packs = names.filter { $0.hasPrefix("packs/") && $0.count > 10 }
        #expect(packs.count == known.reduce(0, +), "\(context): \(packs)", sourceLocation: sourceLocation)
        #expect(packs.allSatisfy { $0.count == 73 }, "\(context): \(packs)", sourceLocation: sourceLocation)
        let tops = Set(
            names.filter { name in
                if ["packs/", "keys/", "leases/", "removals/"].contains(where: { name.hasPrefix($0) }) { return false }
                // Killed before it had locked its folder: that is empty, and goes when it is a week old.
                return !(name.hasPrefix("tmp/") && isEmptyDirectory(name))
            })
        let expected: Set<String> = [
            "packs", "keys", "leases", "removals", "tmp", "config.json", "reserve", "catalog.sqlite",
            "catalog.sqlite-wal", "catalog.sqlite-shm", "catalog.witness",
        ]
        #expect(tops.subtracting(expected) == [], "\(context)", sourceLocation: sourceLocation)
        let removals = names.filter { $0.hasPrefix("removals/") }
        #expect(removals.count <= 1, "\(context): \(removals)", sourceLocation: sourceLocation)
        let leases = names.filter { $0.hasPrefix("leases/") && $0.count > 30 }
        #expect(leases == [], "\(context)", sourceLocation: sourceLocation)
        let own = try FileManager.default.subpathsOfDirectory(atPath: state.path)
        let odd = own.filter { $0.hasSuffix(".new") || $0.hasSuffix(".tmp") || $0.contains(".partial") }
        #expect(odd == [], "\(context)", sourceLocation: sourceLocation)
    }
}
