import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing

@testable import Capture

/// Whether this process may watch file systems and mount some: CAP_SYS_ADMIN (21) and CAP_DAC_READ_SEARCH (2).
let canWatch: Bool = {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix("CapEff:") }),
        let set = UInt64(line.dropFirst(7).trimmingCharacters(in: .whitespaces), radix: 16)
    else { return false }
    return geteuid() == 0 && set & (1 << 21 | 1 << 2) == (1 << 21 | 1 << 2) && (try? FanotifyGroup()) != nil
}()

/// Keeps what a watcher says.
final class Recorder: ChangeConsumer {
    struct State {
        var facts: [DirtyFact] = []
        var status: [WatchStatus] = []
    }
    let state = Monitor(State())

    func received(_ facts: [DirtyFact]) { state.update { $0.facts += facts } }
    func changed(_ status: [WatchStatus]) { state.update { $0.status = status } }

    /// Everything since the last call.
    func take() -> [DirtyFact] {
        state.withLock { state in
            defer { state.facts = [] }
            return state.facts
        }
    }

    /// Waits until a fact comes; it stays recorded.
    func waits(seconds: Double = 120, for wanted: (DirtyFact) -> Bool) -> Bool {
        state.waitUntil({ $0.facts.contains(where: wanted) }, nanoseconds: Int64(seconds * 1e9))
    }

    func waitsForStatus(seconds: Double = 120, _ wanted: ([WatchStatus]) -> Bool) -> Bool {
        state.waitUntil({ wanted($0.status) }, nanoseconds: Int64(seconds * 1e9))
    }
}

/// A directory on a file system of its own, watched.
final class WatchFixture {
    /// On what the test takes place.
    enum Kind: String, CaseIterable, CustomStringConvertible, Sendable {
        case ext4, xfs, btrfs, subvolume, overlay
        var description: String { rawValue }

        fileprivate var loop: LoopFileSystem.Kind {
            switch self {
            case .ext4, .overlay: .ext4
            case .xfs: .xfs
            case .btrfs, .subvolume: .btrfs
            }
        }
    }

    let kind: Kind
    let disk: LoopFileSystem
    /// The top of what was mounted for the test.
    let top: String
    /// What is protected: `top/kept`.
    let root: String
    let recorder = Recorder()
    private(set) var watcher: ChangeWatcher?
    private var mounts: [String] = []

    /// `nil`, with the reason printed, where file systems cannot be made.
    init?(_ kind: Kind) {
        guard let disk = LoopFileSystem.make(kind.loop) else { return nil }
        self.kind = kind
        self.disk = disk
        switch kind {
        case .ext4, .xfs, .btrfs: top = disk.path
        case .subvolume:
            guard Tool.run(["btrfs", "subvolume", "create", "\(disk.path)/@home"]).status == 0 else { return nil }
            let image = "\(disk.path)-sub"
            mkdir(image, 0o755)
            let source =
                Tool.run(["findmnt", "-n", "-o", "SOURCE", disk.path]).text
                .split(whereSeparator: { $0 == "\n" || $0 == "[" }).first.map(String.init) ?? ""
            let mounted = Tool.run(["mount", "-t", "btrfs", "-o", "subvol=@home", source, image])
            // What remains is what the usual installation has: subvolumes only.
            guard mounted.status == 0, Tool.run(["umount", disk.path]).status == 0 else {
                print("skipped on \(kind): \(mounted.text)")
                return nil
            }
            top = image
            mounts.append(image)
        case .overlay:
            for name in ["lower", "upper", "work"] { mkdir("\(disk.path)/\(name)", 0o755) }
            mkdir("\(disk.path)/lower/kept", 0o755)
            mkdir("\(disk.path)/lower/kept/old", 0o755)
            for index in 0..<4 {
                put("\(disk.path)/lower/kept/old/\(index)", "lower \(index)")
            }
            let merged = "\(disk.path)-merged"
            mkdir(merged, 0o755)
            let options = "lowerdir=\(disk.path)/lower,upperdir=\(disk.path)/upper,workdir=\(disk.path)/work"
            let mounted = Tool.run(["mount", "-t", "overlay", "-o", options, "overlay", merged])
            guard mounted.status == 0 else {
                print("skipped on \(kind): \(mounted.text)")
                return nil
            }
            top = merged
            mounts.append(merged)
        }
        root = "\(top)/kept"
        mkdir(root, 0o755)
        mkdir("\(top)/outside", 0o755)
    }

    /// Begins to watch; what is told at the start is taken away.
    func start(_ change: (inout ChangeWatcher.Configuration) -> Void = { _ in }) throws {
        var configuration = ChangeWatcher.Configuration(scope: WatchScope(roots: [path(root)]), crossFileSystems: true)
        configuration.batchInterval = 20_000_000
        configuration.mappingInterval = 3_600_000_000_000
        change(&configuration)
        let watcher = try ChangeWatcher(configuration, consumer: recorder)
        try watcher.start()
        self.watcher = watcher
        let first = recorder.take()
        #expect(first.contains { if case .fileSystem(_, .started) = $0 { true } else { false } })
    }

    /// All that was told of what happened until now.
    func facts() -> [DirtyFact] {
        watcher?.flush()
        return recorder.take()
    }

    func path(_ text: String) -> TreePath { TreePath(text) ?? .root }
    func inRoot(_ name: String) -> TreePath { path("\(root)/\(name)") }

    /// Undoes a mount at the end.
    func alsoUnmount(_ path: String) { mounts.append(path) }

    deinit {
        watcher?.stop()
        for mount in mounts.reversed() {
            if Tool.run(["umount", mount]).status != 0 { Tool.run(["umount", "-l", mount]) }
            rmdir(mount)
        }
    }
}

/// Writes a whole file.
func put(_ path: String, _ text: String = "content") {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    _ = text.withCString { write(file, $0, strlen($0)) }
    close(file)
}
