import Agent
import ArgumentParser
import Capture
import Catalog
import Glibc
import Model
import Platform
import Vault

/// Shows with a file of the program's own that protection works: saved, changed, deleted, brought back from the server.
struct UpProof {
    struct Outcome {
        /// What was brought back is what was saved.
        var holds: Bool
        var file: [UInt8]
        /// A time at which the file was as it was saved first.
        var time: String
    }

    let home: HomeServer
    let agent: AgentService
    let console: Console
    /// A step that takes longer than this has failed, in nanoseconds.
    private static let patience: Int64 = 120_000_000_000

    func run() throws -> Outcome {
        let path = home.proofDirectory + Array("/a-file-of-holdfast".utf8)
        guard
            let tree = try? ResolvedPath(PathArgument(bytes: home.proofDirectory)).path.appending(
                "a-file-of-holdfast".utf8)
        else { throw HoldfastError(.io, "The directory \(TreePath.display(home.proofDirectory)) is not there.") }
        let first = contents("first")
        let second = contents("second")
        try console.line("")
        try console.line("Proof, with \(TreePath.display(path)):")
        let saved = try step("saved", "safe on the server", tree) { try write(first, path) }
        _ = try step("changed", "safe", tree) { try write(second, path) }
        _ = try step("deleted", "known", tree) {
            try withCName(path) { (name) throws(Errno) in try FileSystem.remove(at: FileSystem.currentDirectory, name) }
        }
        let begun = SystemClock.monotonic
        let restored = try bringBack(tree, saved.point)
        let milliseconds = (SystemClock.monotonic - begun) / 1_000_000
        let holds = restored == first
        let (expected, found) = (SHA256Sum.of(first), SHA256Sum.of(restored))
        try console.emit(
            "proof",
            [
                "step": .string("restored"), "milliseconds": .count(milliseconds), "saved_hash": .string(expected),
                "restored_hash": .string(found), "equal": .bool(holds),
            ])
        try console.line("  restored to its first version in \(milliseconds) ms")
        try console.line(
            "  SHA-256 \(expected.prefix(16))... saved, \(found.prefix(16))... restored: \(holds ? "equal" : "NOT EQUAL")"
        )
        if agent.status.fileSystems.contains(where: { $0.isScanned }) {
            try console.line(
                "  (Looked at at once for this. What you save is looked for every 30 seconds, for the reason above.)")
        }
        // It stays as it was, so that there is something to look at.
        try write(restored, path)
        try console.flush()
        if !holds { console.warn("What was restored is not what was saved. Do not rely on this vault.") }
        return Outcome(holds: holds, file: path, time: TimeText.rfc3339(saved.time))
    }

    private func contents(_ word: String) -> [UInt8] {
        let time = TimeText.rfc3339(Timestamp(nanoseconds: SystemClock.wall))
        return Array("The \(word) version, written by holdfast up at \(time).\n".utf8)
    }

    private struct Stored {
        var point: PointID
        var time: Timestamp
    }

    /// Does something to the file and waits until the server has it.
    private func step(
        _ name: String, _ done: String, _ path: TreePath, _ body: () throws -> Void
    ) throws -> Stored {
        let before = try agent.spool.index.versions(of: path).last?.sequence ?? 0
        let begun = SystemClock.monotonic
        try body()
        while true {
            if let version = try agent.spool.index.versions(of: path).last, version.sequence > before, version.isSent,
                let point = version.point
            {
                let milliseconds = (SystemClock.monotonic - begun) / 1_000_000
                try console.emit("proof", ["step": .string(name), "milliseconds": .count(milliseconds)])
                try console.line("  \(name), \(done) after \(milliseconds) ms")
                try console.flush()
                return Stored(point: point, time: version.time)
            }
            if SystemClock.monotonic - begun > UpProof.patience {
                throw HoldfastError(
                    .io,
                    "What was \(name) is not stored after two minutes: \(agent.status.problem ?? "no reason is known")."
                )
            }
            if try Signals.wait(milliseconds: 5) { throw HoldfastError(.cancelled, "The proof was stopped.") }
            // Without root nothing is told: everything is looked at.
            if agent.status.fileSystems.contains(where: { $0.isScanned }) {
                try? agent.spoolNow(seconds: 30)
            }
        }
    }

    /// Reads the file from the point, through the server, with what that grants this machine.
    private func bringBack(_ path: TreePath, _ point: PointID) throws -> [UInt8] {
        let session = try home.session()
        let keys = try session.opener(try PassphraseOptions.parse([]))
        let reader = try PointReader(service: session.vault, keys: keys, point: point)
        defer { reader.close() }
        guard let entry = try reader.entry(of: path) else { return [] }
        var bytes: [UInt8] = []
        try reader.read(entry) {
            bytes += Array($0)
            return true
        }
        return bytes
    }

    private func write(_ bytes: [UInt8], _ path: [UInt8]) throws {
        let file = try withCName(path) { (name) throws(Errno) in
            try FileDescriptor.open(
                at: FileSystem.currentDirectory, name, [.writeOnly, .create, .truncate], mode: 0o644)
        }
        try file.writeAll(bytes)
        try file.close()
    }

}
