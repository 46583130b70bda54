import CFuse
package import Model
import Platform
import Synchronization
package import Vault

/// A vault as a read-only file system: DIR/<machine>/<time>/..., answered from memory and from the vault.
///
/// Points never change, so the kernel may keep what it was told of one; only lists of machines and points are asked again.
package final class VaultFileSystem: Sendable {
    /// What is to be seen, and how.
    package struct Options: Sendable {
        /// This machine only.
        package var machine: MachineID?
        /// Opens points although nobody can tell who made them.
        package var acceptsUnsigned = false
        /// The service is a server, which may be restarted meanwhile.
        package var isRemote = false
        /// Whether the vault is where it was. A drive that was unplugged looks like one whose files are lost.
        package var isThere: @Sendable () -> Bool = { true }
        /// Other users see it, as far as permissions let them.
        package var allowsOthers = false
        /// Bytes of opened blobs that are kept.
        package var cache = 128 << 20
        package init() {}
    }

    /// For how long the kernel may keep what can change, and what cannot, in seconds.
    static let shortly = 1.0, aWhile = 10.0, long = 86_400.0

    let index: VaultIndex
    let shelf: PointShelf
    let nodes = NodeTable()
    let complaints: Complaints
    let options: Options
    private let ahead = ReadAhead()
    private let places = PlaceTable()
    private let openFiles = Atomic<Int>(0)
    private let started: Timestamp
    private let owner: (user: UInt32, group: UInt32)
    private let zone: TimeZoneRules

    /// - Parameters:
    ///   - keys: opens points.
    ///   - owner: whose the directories are that are not in any point.
    ///   - zone: by whose clocks points are called.
    package init(
        _ service: any VaultService, keys: any PointOpener, options: Options, owner: (user: UInt32, group: UInt32),
        zone: TimeZoneRules, complaints: Complaints
    ) {
        self.options = options
        self.complaints = complaints
        self.zone = zone
        self.owner = owner
        started = Timestamp(nanoseconds: SystemClock.wall)
        index = VaultIndex(
            service: service, only: options.machine, findsStrangers: options.acceptsUnsigned, zone: zone,
            complaints: complaints)
        shelf = PointShelf(
            service: service, keys: keys, acceptsUnsigned: options.acceptsUnsigned, renewsLeases: options.isRemote,
            cache: BlobCache(limit: options.cache))
    }

    package func start() throws {
        try shelf.start()
        try ahead.start(threads: max(2, min(Machine.processorCount, 4)))
    }

    /// Gives everything in the vault back.
    package func stop() {
        ahead.stop()
        shelf.stop()
    }

    /// What there is now, for a word to whoever mounts.
    package func summary() throws -> (machines: Int, newest: (machine: [UInt8], time: Timestamp)?) {
        let names = try index.machines()
        // One machine's list says enough, and with a thousand machines asking for all takes long.
        guard names.machines.count == 1, let only = names.machines.first else { return (names.machines.count, nil) }
        let points = try index.points(of: only.id)
        return (1, points.newest.map { (only.name, points.points[$0].effective) })
    }

    // MARK: Finding

    /// What stands under a name in a directory; `nil` for nothing.
    func find(_ name: [UInt8], in parent: Node) throws -> (node: Node, entry: Entry?)? {
        switch parent {
        case .root:
            return try index.machines().machine(named: name).map { (.machine($0), nil) }
        case .machine(let machine):
            let points = try index.points(of: machine)
            switch points.meaning(of: name, now: Timestamp(nanoseconds: SystemClock.wall)) {
            case nil: return nil
            case .point(let number)?:
                return (.entry(try place(points.points[number], points.names[number], machine), .root), nil)
            case .link?: return (.link(machine, name: name), nil)
            }
        case .link: throw Errno.notDirectory
        case .entry(let place, let path):
            guard TreePath.isName(name) else { return nil }
            let child = path.appending(name)
            return try open(place).withTree { try $0.lookup(child) }.map { (.entry(place, child), $0) }
        }
    }

    /// What is known of a point by its name; always the same value for the same point.
    private func place(_ point: PointSummary, _ name: [UInt8], _ machine: MachineID) throws -> PointPlace {
        if let known = places.find(point.id) { return known }
        let title =
            "\(TreePath.display(try index.machines().name(of: machine) ?? Array(machine.hex.utf8)))/\(TreePath.display(name))"
        return places.keep(PointPlace(id: point.id, machine: machine, title: title, time: point.effective))
    }

    /// Throws `stale` for a point that the vault does not have any more.
    func open(_ place: PointPlace) throws -> OpenPoint {
        do { return try shelf.open(place) } catch let error as HoldfastError where error.code == .notFound {
            throw Errno.stale
        }
    }

    /// Where a link of a machine's directory leads now.
    func target(of name: [UInt8], machine: MachineID) throws -> [UInt8] {
        let points = try index.points(of: machine)
        switch points.meaning(of: name, now: Timestamp(nanoseconds: SystemClock.wall)) {
        case .link(let target)?: return target
        // A point of just that time has come meanwhile.
        case .point(let number)?: return points.names[number]
        case nil: throw Errno.noEntry
        }
    }

    // MARK: Attributes

    /// What `stat` says of a node, and for how many seconds that stays right.
    func attributes(of node: Node, _ entry: Entry? = nil) throws -> (value: hf_fuse_attributes, seconds: Double) {
        switch node {
        case .root: return (made(node, kind: Kind.directory, mode: 0o555, started), Self.shortly)
        case .machine(let machine):
            // Only if somebody has looked into it: `ls -l` of a thousand machines is not to ask for the points of each.
            let newest = index.known(machine)?.points.last?.effective
            return (made(node, kind: Kind.directory, mode: 0o555, newest ?? started), Self.shortly)
        case .link(let machine, let name):
            let target = try target(of: name, machine: machine)
            let points = try index.points(of: machine)
            let time = points.names.lastIndex(of: target).map { points.points[$0].effective }
            var value = made(node, kind: Kind.symbolicLink, mode: 0o777, time ?? started)
            value.size = UInt64(target.count)
            return (value, 0)
        case .entry(let place, let path):
            if path.isRoot { return (try top(of: place, node), Self.aWhile) }
            guard let entry = try entry ?? open(place).entry(of: path) else { throw Errno.stale }
            return (attributes(of: entry, node, place), Self.long)
        }
    }

    /// The top of a point. A list of ten thousand points is not to open them all, so it has the point's time, and lets in who may
    /// see the file system at all. Where others may, it is as it was: their way in may have been closed there.
    private func top(of place: PointPlace, _ node: Node) throws -> hf_fuse_attributes {
        var value = made(node, kind: Kind.directory, mode: 0o555, place.time)
        guard options.allowsOthers, let entry = try open(place).entry(of: .root) else { return value }
        if !entry.remarks.contains(.ancestor) {
            value.mode = Kind.directory | UInt32(entry.mode)
            value.user = entry.uid
            value.group = entry.gid
        }
        return value
    }

    enum Kind {
        static let directory: UInt32 = 0o040000
        static let symbolicLink: UInt32 = 0o120000
        static let regular: UInt32 = 0o100000

        static func of(_ kind: EntryKind) -> UInt32 {
            switch kind {
            case .regular: regular
            case .directory: directory
            case .symbolicLink: symbolicLink
            case .characterDevice: 0o020000
            case .blockDevice: 0o060000
            case .fifo: 0o010000
            case .socket: 0o140000
            }
        }
    }

    private func made(_ node: Node, kind: UInt32, mode: UInt32, _ time: Timestamp) -> hf_fuse_attributes {
        var value = hf_fuse_attributes()
        value.inode = NodeTable.number(node)
        value.mode = kind | mode
        value.links = 1
        value.user = owner.user
        value.group = owner.group
        value.seconds = time.seconds
        value.nanoseconds = UInt32(time.subsecond)
        return value
    }

    private func attributes(of entry: Entry, _ node: Node, _ place: PointPlace) -> hf_fuse_attributes {
        var value = hf_fuse_attributes()
        value.inode = entry.linkGroup.map { NodeTable.number($0, in: place) } ?? NodeTable.number(node)
        value.mode = Kind.of(entry.kind) | UInt32(entry.mode)
        // How many names there are is not written down. One for directories means that nobody has counted.
        value.links = entry.linkGroup == nil ? 1 : 2
        value.user = entry.uid
        value.group = entry.gid
        value.seconds = entry.mtime.seconds
        value.nanoseconds = entry.mtime.nanoseconds
        switch entry.kind {
        case .regular:
            value.size = min(entry.size, UInt64(Int64.max))
            value.blocks = Self.blocks(of: entry)
        case .symbolicLink: value.size = UInt64(entry.target.count)
        case .characterDevice, .blockDevice:
            value.major = UInt32(entry.device >> 32)
            value.minor = UInt32(truncatingIfNeeded: entry.device)
        default: break
        }
        return value
    }

    /// Blocks of 512 bytes: fewer than the size needs tell programs that there are holes to look for.
    static func blocks(of entry: Entry) -> UInt64 {
        let data: UInt64
        switch entry.content {
        case .none: data = 0
        case .extents(let extents):
            data = extents.reduce(0) { $1.key == nil ? $0 : $0 &+ $1.length }
        case .list(_, let count):
            // Counting would take reading the list; an extent that is no hole has at most 1 MiB.
            let (most, isMore) = count.multipliedReportingOverflow(by: 1 << 20)
            data = isMore ? entry.size : min(entry.size, most)
        }
        return min(data, UInt64(Int64.max)) / 512 + (data % 512 == 0 ? 0 : 1)
    }

    // MARK: Opening

    func openFile(_ node: Node) throws -> OpenFile {
        guard case .entry(let place, let path) = node else { throw Errno.isDirectory }
        let point = try open(place)
        guard let entry = try point.entry(of: path) else { throw Errno.stale }
        guard entry.kind == .regular else { throw Errno.noDevice }
        if entry.remarks.contains(.contentMissing) {
            complaints.hasNoContent(path, place)
            throw Errno.inputOutput
        }
        // What many files read ahead together has to stay until it is read.
        let count = openFiles.wrappingAdd(1, ordering: .relaxed).newValue
        let room = max(options.cache / 4 / max(count, 1), 1 << 20)
        do {
            return try OpenFile(point, path, entry, ahead: ahead, aheadLimit: UInt64(min(room, 16 << 20)))
        } catch {
            closedFile()
            throw error
        }
    }

    func closedFile() { openFiles.wrappingSubtract(1, ordering: .relaxed) }

    func openDirectory(_ node: Node) throws -> any Listing {
        switch node {
        case .root:
            return FixedListing(
                own: node, above: node,
                entries: try index.machines().machines.map { (name: $0.name, node: Node.machine($0.id)) })
        case .machine(let machine):
            let points = try index.points(of: machine)
            var entries: [(name: [UInt8], node: Node)] = []
            entries.reserveCapacity(points.points.count + 1)
            for (point, name) in zip(points.points, points.names) {
                entries.append((name, .entry(try place(point, name, machine), .root)))
            }
            if points.newest != nil { entries.append((PointNames.latest, .link(machine, name: PointNames.latest))) }
            return FixedListing(own: node, above: .root, entries: entries)
        case .link: throw Errno.notDirectory
        case .entry(let place, let path):
            let point = try open(place)
            guard let entry = try point.entry(of: path) else { throw Errno.stale }
            guard entry.kind == .directory else { throw Errno.notDirectory }
            return TreeListing(point, path)
        }
    }

    /// All extended attributes of a node.
    func extendedAttributes(of node: Node) throws -> [ExtendedAttribute] {
        guard case .entry(let place, let path) = node else { return [] }
        if path.isRoot, !options.allowsOthers { return [] }
        let point = try open(place)
        guard let entry = try point.entry(of: path) else { throw Errno.stale }
        return try point.attributes(of: entry)
    }

    /// The target of a symbolic link.
    func target(of node: Node) throws -> [UInt8] {
        switch node {
        case .link(let machine, let name): return try target(of: name, machine: machine)
        case .entry(let place, let path):
            guard let entry = try open(place).entry(of: path) else { throw Errno.stale }
            guard entry.kind == .symbolicLink else { throw Errno.invalidArgument }
            return entry.target
        default: throw Errno.invalidArgument
        }
    }

    // MARK: Errors

    /// The number that a program gets, after whoever mounted was told what is behind it.
    func number(of error: any Error, _ node: Node) -> Int32 {
        if let errno = error as? Errno {
            if errno == .stale, case .entry(let place, _) = node { complaints.removed(place) }
            return errno.code
        }
        guard let known = error as? HoldfastError, case .entry(let place, let path) = node else {
            complaints.away(error)
            return Errno.inputOutput.code
        }
        if known.code == .damaged || known.code == .missingBlobs {
            if !options.isThere() {
                complaints.away(HoldfastError(.io, "its directory is not there; is the drive mounted?"))
                return Errno.inputOutput.code
            }
            if isRemoved(place) {
                complaints.removed(place)
                return Errno.stale.code
            }
        }
        complaints.about(path, place, error)
        return known.code == .denied || known.code == .keyNeeded ? Errno.accessDenied.code : Errno.inputOutput.code
    }

    /// Whether blobs are missing because nobody kept them for this mount: the server had forgotten its lease.
    private func isRemoved(_ place: PointPlace) -> Bool {
        guard let names = try? index.points(of: place.machine) else { return false }
        return !names.points.contains { $0.id == place.id }
    }
}
