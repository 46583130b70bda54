import Model
import Platform

/// One file system under watch: its queue of events, what they mean, and whether they still come.
///
/// Belongs to the watcher's thread.
final class WatchedFileSystem {
    private(set) var plan: PlannedFileSystem
    private let configuration: ChangeWatcher.Configuration
    private let scope: WatchScope
    private let resolver: DirectoryResolver
    private let translator: EventTranslator
    private var group: FanotifyGroup?
    private(set) var mode: WatchStatus.Mode = .scan("it has not been marked yet")
    private var heartbeat = Heartbeat()
    /// The heartbeat failed; told once.
    private var isDead = false
    private var backOff = OverflowBackOff()
    private var overflows = 0
    /// What could not be assigned to a path; told with the next loss that is due.
    private var unresolved: String?

    init(_ plan: PlannedFileSystem, configuration: ChangeWatcher.Configuration) {
        self.plan = plan
        self.configuration = configuration
        scope = configuration.scope
        resolver = DirectoryResolver(plan, scope: configuration.scope)
        translator = EventTranslator(
            scope: configuration.scope, directoriesComeFilled: plan.mounts.first?.type == "btrfs")
    }

    /// The queue, for waiting; `nil` when there is none.
    var queue: Int32? { group?.raw }

    var status: [WatchStatus] {
        plan.places.map { place in
            WatchStatus(
                mountPoint: place.mountPoint, type: place.isOverlay ? "overlay" : plan.mounts.first?.type ?? plan.type,
                mode: mode, lastHeartbeat: heartbeat.seen, overflows: overflows)
        }
    }

    func lose(_ loss: DirtyFact.Loss, _ facts: inout FactBatch) {
        for point in plan.mountPoints { facts.add(.fileSystem(point, lost: loss)) }
    }

    // MARK: Marking

    /// Opens a queue and marks the file system, or says in `mode` why that cannot be.
    func establish() {
        group = nil
        heartbeat.forget()
        if let obstacle = plan.obstacle {
            mode = .scan(obstacle)
            return
        }
        do throws(Errno) {
            group = try FanotifyGroup(pairsRenames: configuration.pairsRenames)
        } catch {
            mode = .scan(WatchedFileSystem.reason(opening: error))
            return
        }
        do throws(Errno) {
            try resolver.open()
            defer { resolver.close() }
            try mark()
            try checkHandles()
            mode = .events
        } catch {
            group = nil
            mode = .scan(WatchedFileSystem.reason(marking: error, plan.mounts.first?.type ?? plan.type))
        }
    }

    private var mask: FanotifyMask {
        var mask: FanotifyMask = [.created, .deleted, .closedAfterWriting, .attributes, .directory]
        mask.formUnion(group?.pairsRenames == true ? .renamed : [.movedFrom, .movedTo])
        if configuration.watchesWrites { mask.insert(.modified) }
        return mask
    }

    private func mark() throws(Errno) {
        guard let group, let directory = resolver.anyDirectory else { throw .stale }
        let mask = mask
        try group.watchFileSystem(of: directory, mask)
        // Spares the kernel and the queue the noise; that nothing is told of these places is seen to by their paths. What
        // is renamed out of them must be seen.
        let noise = mask.subtracting([.renamed, .movedFrom, .movedTo])
        for place in scope.ignored {
            guard let open = try? FileDescriptor.open([UInt8(ascii: "/")] + place.bytes, [.readOnly, .directory])
            else { continue }
            try? group.ignoreChildren(of: open.raw, noise)
        }
    }

    /// Marks alone do not help when handles cannot be opened, for which another privilege is needed.
    private func checkHandles() throws(Errno) {
        guard let directory = resolver.anyDirectory else { throw .stale }
        let handle = try FileHandle.of(directory)
        var failure: Errno?
        handle.withUnsafeBytes { bytes in
            do throws(Errno) { _ = try FileHandle.open(bytes, mount: directory) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    static func reason(opening error: Errno) -> String {
        switch error {
        case .notPermitted: "watching a file system needs the privilege CAP_SYS_ADMIN, which this process does not have"
        case .invalidArgument, .notImplemented: "the kernel's fanotify is older than Linux 5.9"
        case .tooManyOpenFiles: "the limit fs.fanotify.max_user_groups is reached"
        default: "fanotify cannot be had: \(error)"
        }
    }

    static func reason(marking error: Errno, _ type: String) -> String {
        switch error {
        case .notPermitted:
            "watching \(type) needs the privileges CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH, one of which this process lacks"
        case .crossDevice: "only a part of \(type) is mounted, which the kernel does not let be watched"
        case .notSupported, .noDevice, Errno(code: 19):
            "\(type) does not name its files in a way that events can be assigned to them"
        case .stale: "it is not mounted where it was any more"
        default: "\(type) cannot be watched: \(error)"
        }
    }

    /// Takes over what is mounted where now.
    /// - Returns: whether anything that is protected may lie elsewhere now.
    func update(_ new: PlannedFileSystem) -> Bool {
        let isMoved = new.places != plan.places
        plan = new
        resolver.update(new)
        // The marks of a file system that was unmounted and mounted again are gone.
        if isMoved { establish() }
        return isMoved
    }

    // MARK: Events

    /// So many bytes of events are taken out of the kernel's queue before any is looked at: taking them is a hundred times
    /// faster, and the queue is free again for what comes meanwhile.
    private static let batchBytes = 8 << 20
    /// The most batches in one turn.
    private static let batchesPerTurn = 4

    /// Reads the queue until it is empty, or so much was read that others must have their turn.
    /// - Parameters:
    ///   - buffer: for reading; any contents.
    ///   - deliver: called when there are many facts, to hand them on in between.
    /// - Returns: how many bytes of events there were.
    func drain(
        _ buffer: UnsafeMutableRawBufferPointer, _ facts: inout FactBatch, deliver: (inout FactBatch) -> Void
    ) -> Int {
        guard let group else { return 0 }
        var total = 0
        var batch: [UInt8] = []
        for _ in 0..<WatchedFileSystem.batchesPerTurn {
            batch.removeAll(keepingCapacity: true)
            var isEmpty = false
            do throws(Errno) {
                while batch.count < WatchedFileSystem.batchBytes, !isEmpty {
                    let count = try group.read(into: buffer)
                    isEmpty = count == 0
                    batch.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                }
            } catch {
                lost("the queue of events cannot be read: \(error)")
                isEmpty = true
            }
            total += batch.count
            if !batch.isEmpty { batch.withUnsafeBytes { take($0, &facts, deliver: deliver) } }
            if isEmpty { break }
        }
        return total
    }

    private func lost(_ reason: String) {
        unresolved = reason
        backOff.lost()
    }

    private func take(
        _ buffer: UnsafeRawBufferPointer, _ facts: inout FactBatch, deliver: (inout FactBatch) -> Void
    ) {
        do throws(Errno) {
            try resolver.open()
        } catch {
            lost("the file system cannot be opened: \(error)")
            return
        }
        defer { resolver.close() }
        if hasRenamedDirectory(buffer) { resolver.forget() }
        var events = FanotifyEvents(buffer)
        while let event = events.next() {
            if event.mask.contains(.overflow) {
                overflows += 1
                unresolved = nil
                backOff.lost()
                continue
            }
            if let object = event.object, heartbeat.recognizes(object.bytes, at: SystemClock.monotonic) { continue }
            if let drops = configuration.drops, let name = (event.place ?? event.to)?.name, drops(Array(name)) {
                continue
            }
            take(event, &facts)
            if facts.count >= 8192 { deliver(&facts) }
        }
        if events.isDamaged { lost("the kernel's record of an event cannot be understood") }
    }

    private func hasRenamedDirectory(_ buffer: UnsafeRawBufferPointer) -> Bool {
        var events = FanotifyEvents(buffer)
        let moves: FanotifyMask = [.renamed, .movedFrom, .movedTo]
        while let event = events.next() {
            if event.mask.contains(.directory), !event.mask.isDisjoint(with: moves) { return true }
        }
        return false
    }

    private func take(_ event: FanotifyEvent, _ facts: inout FactBatch) {
        if event.from != nil || event.to != nil {
            // A rename out of or into what cannot be seen has one of the two only.
            let from = event.from.map { resolve($0) } ?? []
            let to = event.to.map { resolve($0) } ?? []
            if from.isEmpty && to.isEmpty { return }
            let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
            translator.translateRename(
                isDirectory: event.mask.contains(.directory), from: from, event.from?.name ?? nothing, to: to,
                event.to?.name ?? nothing, into: &facts)
        } else if let place = event.place {
            let seen = resolve(place)
            if !seen.isEmpty { translator.translate(event.mask, seen, place.name, into: &facts) }
            tellOtherNames(event, told: seen, &facts)
        } else if event.object != nil {
            // The number of its links changed, or a server of NFS changed it by its handle before the kernel knew its
            // directory.
            tellOtherNames(event, told: [], &facts)
        } else {
            lost("the kernel told of a change without saying of what")
        }
    }

    /// What changes a file, whatever its name.
    private static let changes: FanotifyMask = [.modified, .closedAfterWriting, .attributes]

    /// A file can have several names, of which the kernel tells the one that was used; that one may be gone by now. So the
    /// file itself is looked at: the name it has now, and those it was captured with.
    private func tellOtherNames(_ event: FanotifyEvent, told: [DirectoryResolver.Seen], _ facts: inout FactBatch) {
        guard let object = event.object, !event.mask.contains(.directory),
            !event.mask.isDisjoint(with: WatchedFileSystem.changes), !told.contains(where: \.isTruncated)
        else { return }
        let opened: (status: FileStatus, part: TreePath?)?
        do throws(Errno) {
            opened = try resolver.file(object.bytes)
        } catch {
            lost("a changed file cannot be looked at: \(error)")
            return
        }
        guard let file = opened else { return }
        var places: [DirectoryResolver.Seen] = []
        if let part = file.part, let parent = part.parent {
            places = resolver.places(of: parent)
            let isTold =
                event.place?.name.elementsEqual(part.name) == true
                && places.allSatisfy { place in told.contains { $0.path == place.path } }
            if !isTold { part.name.withUnsafeBytes { translator.translate(event.mask, places, $0, into: &facts) } }
            // It has one name, which is known now; names that it had before were told when they went. Asking for others costs a search
            // of everything that is protected, and every program that saves beside and renames would bring that about.
            if file.status.links == 1 { return }
        }
        let before = facts.count
        let writer: DirtyFact.Writer =
            event.mask.contains(.closedAfterWriting) ? .closed : event.mask.contains(.modified) ? .open : .metadata
        for node in nodes(file, places) {
            for path in configuration.otherNames?(node) ?? [] { facts.add(.file(path, writer)) }
        }
        // That links were counted anew changes nothing in the file, and each name is told by itself.
        let isContent = !event.mask.isDisjoint(with: [.modified, .closedAfterWriting])
        if event.place == nil, file.part == nil, isContent, facts.count == before {
            lost("the name of a changed file cannot be found out")
        }
    }

    /// What a file is known by where it is protected: an overlay gives it another number than the file system below.
    private func nodes(
        _ file: (status: FileStatus, part: TreePath?), _ places: [DirectoryResolver.Seen]
    ) -> Set<CaptureSource.FileNode> {
        var nodes: Set<CaptureSource.FileNode> = [.init(device: file.status.device, inode: file.status.inode)]
        for place in places where place.isOverlay {
            let path = place.path.appending(file.part?.name ?? [])
            guard let status = try? FileSystem.status([UInt8(ascii: "/")] + path.bytes) else { continue }
            nodes.insert(.init(device: status.device, inode: status.inode))
        }
        return nodes
    }

    private func resolve(_ place: FanotifyName) -> [DirectoryResolver.Seen] {
        switch resolver.resolve(place.directory.bytes) {
        case .seen(let seen): return seen
        // Its own removal is told in its parent.
        case .gone: return []
        case .unknown(let error):
            lost("the path of a directory cannot be found out: \(error)")
            return []
        }
    }

    /// Tells losses whose time has come.
    func tellLosses(at now: Int64, _ facts: inout FactBatch) {
        guard backOff.take(at: now) else { return }
        lose(unresolved.map { .unresolved($0) } ?? .overflow, &facts)
        unresolved = nil
    }

    /// When `tellLosses` has something to say.
    var nextLoss: Int64? { backOff.next }

    // MARK: Heartbeat

    /// Looks for the last beat's event and sends the next.
    func beat(_ facts: inout FactBatch) {
        guard plan.obstacle == nil else { return }
        if group == nil {
            // Whatever was in the way may be gone: a privilege, a limit, a mount.
            establish()
            if mode == .events { lose(.started, &facts) }
        } else if heartbeat.isMissing {
            let wasDead = isDead
            isDead = true
            establish()
            if mode == .events { mode = .scan("the kernel's events stopped coming; the watch was set up again") }
            if !wasDead { lose(.dead, &facts) }
        } else if isDead, heartbeat.seen != nil {
            isDead = false
            mode = .events
            lose(.started, &facts)
        }
        send()
    }

    private func send() {
        guard group != nil else { return }
        // Through a mount that can be written to; the private one of btrfs cannot.
        for mount in plan.mounts where !mount.isReadOnly {
            guard let directory = try? FileDescriptor.open(mount.mountPoint, [.readOnly, .directory]),
                let status = try? directory.status(), status.mount == mount.id || status.mount == 0
            else { continue }
            let own = configuration.heartbeatDirectories.first { path in
                FileSystemPlan.path(mount.mountPoint)?.contains(path) == true
                    && (try? FileSystem.status([UInt8(ascii: "/")] + path.bytes))?.device == status.device
            }
            if heartbeat.send(directory: directory.raw, own: own) == .sent { return }
        }
        heartbeat.forget()
    }

    /// For tests: makes the source fall silent.
    func silence() { try? group?.unwatchAll() }
}
