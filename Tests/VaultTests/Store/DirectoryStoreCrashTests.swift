import Glibc
import Model
import Platform
import TestSupport
import Testing

@testable import Vault

@Suite struct DirectoryStoreCrashTests {
    /// What is put under a number: the length differs from one to the next.
    private static func content(_ number: Int) -> [UInt8] {
        [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 1000 + (number * 7919) % 300_000)
    }

    @Test("a writer killed at any instant leaves whole objects, everything it was told is stored, and nothing aside")
    func killed() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededBytes(seed: seed)
        for round in 0..<8 {
            let scratch = try ScratchDirectory()
            let path = scratch.path
            let microseconds = UInt32(500 + random.below(60_000))
            await #expect(processExitsWith: .signal(SIGKILL)) {
                [path = path as String, microseconds = microseconds as UInt32] in
                let store = try DirectoryStore(path: path)
                let told = open("\(path)/told", O_WRONLY | O_CREAT | O_APPEND, 0o600)
                let killer = try WorkerThread(name: "killer") {
                    usleep(microseconds)
                    kill(getpid(), SIGKILL)
                }
                for number in 0... {
                    try store.put("packs/a\(number % 4)/\(number)", DirectoryStoreCrashTests.content(number))
                    var line = Int64(number)
                    _ = write(told, &line, 8)
                }
                killer.join()
            }
            // Another writer, alive while the next one opens the vault.
            let store = try DirectoryStore(path: path)
            let told = (try? store.get("told", atMost: 1 << 20)) ?? []
            for index in 0..<(told.count / 8) {
                #expect(
                    try store.contains("packs/a\(index % 4)/\(index)"), "seed \(seed), round \(round): \(index) is gone"
                )
            }
            try store.list("packs/") { object in
                let number = try #require(object.key.split(separator: "/").last.flatMap { Int($0) })
                let bytes = try store.get(object.key, atMost: 1 << 20)
                #expect(
                    bytes == DirectoryStoreCrashTests.content(number), "seed \(seed), round \(round): \(object.key)")
                return true
            }
            #expect(
                scratch.files().filter { $0.hasPrefix("tmp/") } == [],
                "seed \(seed), round \(round): something was left")
            #expect(try store.put("packs/a0/next", [1]))
        }
    }
}
