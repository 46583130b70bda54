import ArgumentParser
import Client
import Model
import Mounting
import Platform
import Vault

/// `holdfast mount`
struct Mount: Command {
    static let configuration = CommandConfiguration(
        commandName: "mount",
        abstract: "Show the vault as a directory, by machine and time.",
        usage: "holdfast mount <dir> [<options>]",
        discussion: """
            Every program can then look through all points and copy files out of them; nothing can be changed:

              DIR/web/latest/etc/fstab                the newest point of the machine web
              DIR/web/2026-11-20T10:15:00/srv/...     one of its points, by this machine's clocks
              DIR/web/2026-11-20T12:00:00             a time between: a link to the newest point before it
              DIR/web/2026-11-20                      the newest point of that day, or before it

            Listing DIR/web shows the times of all points; new ones appear within seconds. Where two points are of the same \
            second, the older one's name ends with ~ and the beginning of its id. Symbolic links in a point are shown as they \
            are: one that begins with a slash leads to this machine's own files, not to the point's.

            Only whoever mounts sees it, with everything that was backed up; --allow-other shows it to everybody, each what the \
            permissions in the points let them see. Users other than root need the program fusermount3 (apt install fuse3); \
            where it is installed nothing is left behind when holdfast is killed.

            It goes on until it is stopped with Control-C or SIGTERM, or until the directory is unmounted: umount DIR, for users \
            other than root fusermount3 -u DIR. With --background, warnings go to the system's log.

            Examples:
              holdfast mount /mnt/points
              holdfast mount /mnt/points --background
              holdfast mount ~/points --vault https://backup.example.org:8490 --token-file ~/reader
              cp -a /mnt/points/web/2026-11-20T10:15:00/srv/www /srv/
            """
    )

    @Argument(help: ArgumentHelp("An empty directory.", valueName: "dir"))
    var directory: PathArgument
    @Option(
        help: ArgumentHelp(
            "Show this machine only, by its name or the beginning of its id. (default: all)", valueName: "machine"))
    var machine: String?
    @Flag(help: "Show it to all users, each what the permissions in the points let them see.")
    var allowOther = false
    @Flag(help: "Return when it is mounted, and go on in the background.")
    var background = false
    @Option(help: ArgumentHelp("Keep so much of what was read in memory. (default: 128MiB)", valueName: "size"))
    var cache: SizeArgument?
    @Flag(help: .hidden)
    var detached = false
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var trust: TrustOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard (cache?.bytes).map({ (16 << 20...64 << 30).contains($0) }) ?? true else {
            throw ValidationError("--cache is from 16MiB to 64GiB.")
        }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        if detached, !Background.isAwaited {
            throw HoldfastError(.usage, "Nobody waits for this program to go into the background: use --background.")
        }
        let place = try MountPoint.check(try directory.fromWorkingDirectory())
        if background {
            // The same once more, which asks for a passphrase where it has to and lets go of the terminal when all is well.
            let arguments = System.arguments.map { $0 == Array("--background".utf8) ? Array("--detached".utf8) : $0 }
            guard let status = try Background.start(arguments) else { return .done }
            return ExitStatus(rawValue: status) ?? .failed
        }
        let session = try VaultSession(
            console, location, global, patience: .init(attempts: 3, longestPause: 2_000))
        let keys = try session.opener(passphrase)
        var options = VaultFileSystem.Options()
        options.machine = try machine.map { try session.machine(named: $0) }
        options.acceptsUnsigned = trust.acceptUnsigned
        options.isRemote = session.isRemote
        options.allowsOthers = allowOther
        if !session.isRemote {
            let config = session.path + Array("/config.json".utf8)
            options.isThere = { (try? FileSystem.status(config)) != nil }
        }
        options.cache = Int(cache?.bytes ?? 128 << 20)
        let isDetached = detached
        let complaints = Complaints { text in
            if isDetached { Background.log(text, isWarning: true) } else { console.warn(text) }
        }
        let system = VaultFileSystem(
            session.vault, keys: keys, options: options, owner: System.owner, zone: console.zone, complaints: complaints
        )
        let summary = try system.summary()
        try system.start()
        let mounted = try MountPoint.mount(place, allowsOthers: allowOther)
        do {
            let server = try FuseServer(system, descriptor: mounted.takeDescriptor())
            try server.start()
            mounted.raiseReadAhead()
            try announce(mounted, summary, session, console)
            if isDetached { try Background.enter() }
            let signal = try wait(server)
            end(server, system, mounted, signal)
            let why = signal.map { " after \(Signals.name($0))" } ?? ""
            try console.emit("unmounted", fields(mounted))
            if isDetached {
                Background.log("\(TreePath.display(place)) is unmounted\(why).", isWarning: false)
            } else {
                console.note("\(TreePath.display(place)) is unmounted\(why).")
            }
            return .done
        } catch {
            mounted.unmount()
            throw error
        }
    }

    /// Until a signal arrives, or the file system is unmounted.
    private func wait(_ server: FuseServer) throws -> Int32? {
        while !server.hasEnded(within: 0) {
            if try Signals.wait(milliseconds: 250) { return Signals.received }
        }
        return nil
    }

    /// Unmounts, lets what is being read come to its end, and gives back what the vault was asked to keep. Not for long: a vault
    /// that is away cannot hold this up, and what was not given back ends with this process.
    private func end(_ server: FuseServer, _ system: VaultFileSystem, _ mounted: MountPoint, _ signal: Int32?) {
        mounted.unmount()
        _ = server.hasEnded(within: 1_000_000_000)
        let closing = Monitor(false)
        let thread = try? WorkerThread(name: "closing") {
            system.stop()
            closing.update { $0 = true }
        }
        if thread != nil { _ = closing.waitUntil({ $0 }, nanoseconds: 5_000_000_000) }
    }

    private func fields(_ mounted: MountPoint) -> [String: JSON] {
        var fields: [String: JSON] = [:]
        fields.setBytes("directory", mounted.directory)
        return fields
    }

    private func announce(
        _ mounted: MountPoint, _ summary: (machines: Int, newest: (machine: [UInt8], time: Timestamp)?),
        _ session: VaultSession, _ console: Console
    ) throws {
        var fields = fields(mounted)
        fields["machines"] = .count(UInt64(summary.machines))
        fields["ends_with_process"] = .bool(mounted.endsWithProcess)
        try console.emit("mounted", fields)
        if !mounted.endsWithProcess {
            console.note(
                "Without the program fusermount3 (apt install fuse3) a dead directory is left when this program is killed; "
                    + "`\(mounted.command)` removes it.")
        }
        let shown = TreePath.display(mounted.directory)
        let one = summary.newest.map { TreePath.display($0.machine) }
        let machines = one.map { "machine \($0)" } ?? "\(summary.machines) machines"
        try console.line("The vault \(session.name) is mounted on \(shown), read-only: \(machines).")
        try console.line(
            "  \(shown)/\(one ?? "MACHINE")/latest/    the newest point; beside it every point by its time")
        if let newest = summary.newest {
            try console.line("    (now \(TimeText.local(newest.time, in: console.zone)))")
        }
        if detached {
            try console.line("`\(mounted.command)` ends it.")
        } else {
            try console.line("Control-C or `\(mounted.command)` ends it.")
        }
        try console.flush()
    }
}
