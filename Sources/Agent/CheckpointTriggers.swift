import Model
import Platform
import Policy

/// Notices when a checkpoint is due: the machine was started, or packages were installed, upgraded or removed.
///
/// What was noticed is written down beside the spool, so that a restart of the agent is no event. The first look at the packages
/// only notes how they are.
struct CheckpointTriggers {
    /// Where package managers keep what is installed: dpkg, RPM, apk, pacman.
    static let packageFiles = [
        "/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite",
        "/var/lib/rpm/Packages", "/lib/apk/db/installed", "/var/lib/pacman/local",
    ]
    /// Package managers write many times: their work is over when nothing was written for so long, in nanoseconds.
    static let quiet: Int64 = 60_000_000_000

    private let events: Set<CheckpointEvent>
    private let directory: [UInt8]
    private let files: [String]
    private let boot: () -> [UInt8]?

    /// - Parameter directory: where it is written down.
    init(
        _ events: Set<CheckpointEvent>, directory: [UInt8], files: [String] = CheckpointTriggers.packageFiles,
        boot: @escaping () -> [UInt8]? = { Machine.bootID }
    ) {
        self.events = events
        self.directory = directory
        self.files = files
        self.boot = boot
    }

    /// What has happened since it was last written down.
    func due(now: Int64) -> [CheckpointEvent] {
        var due: [CheckpointEvent] = []
        if events.contains(.boot), let boot = boot(), boot != noted(.boot) { due.append(.boot) }
        if events.contains(.packageChange), let packages = packages(now) {
            if let before = noted(.packageChange) {
                if packages != before { due.append(.packageChange) }
            } else {
                note(.packageChange, packages)
            }
        }
        return due
    }

    /// Writes down that it is done; what cannot be written is done once more.
    func done(_ event: CheckpointEvent, now: Int64) {
        switch event {
        case .boot: if let boot = boot() { note(event, boot) }
        case .packageChange: if let packages = packages(now) { note(event, packages) }
        }
    }

    /// How the packages are; `nil` while somebody works at them, and where there are none.
    private func packages(_ now: Int64) -> [UInt8]? {
        var text = ""
        for file in files {
            guard let status = try? FileSystem.status(Array(file.utf8)) else { continue }
            // Clamped: a time may be of any year.
            let modified = Timestamp(
                seconds: status.modified.seconds, nanoseconds: Int64(status.modified.nanoseconds)
            ).nanoseconds
            // A time ahead is of a clock that was wrong: it would never be quiet.
            if now >= modified, now - modified < CheckpointTriggers.quiet { return nil }
            text += "\(file) \(modified) \(status.inode) \(status.size)\n"
        }
        return text.isEmpty ? nil : Array(text.utf8)
    }

    private func path(_ event: CheckpointEvent) -> [UInt8] { directory + Array("/\(event.rawValue)".utf8) }

    private func noted(_ event: CheckpointEvent) -> [UInt8]? {
        try? FileDescriptor.open(path(event), [.readOnly]).readAll(limit: 65_536)
    }

    private func note(_ event: CheckpointEvent, _ bytes: [UInt8]) {
        try? FileDescriptor.open(path(event), [.writeOnly, .create, .truncate], mode: 0o600).writeAll(bytes)
    }
}
