import CFuse
import Model
import Platform
import Synchronization
import Vault

/// Answers the kernel's requests on threads of its own, from a file system.
package final class FuseServer: Sendable {
    private struct Session: @unchecked Sendable {
        // Sound: libfuse takes requests from several threads.
        let raw: OpaquePointer
    }

    private let session: Session
    private let files: Unmanaged<Requests>
    private let running = Monitor<Int>(0)

    /// - Parameter descriptor: of /dev/fuse, mounted; belongs to the server from now on.
    package init(_ system: VaultFileSystem, descriptor: Int32) throws {
        files = Unmanaged.passRetained(Requests(system))
        var table = Requests.table
        guard
            let raw = hf_fuse_make(&table, files.toOpaque(), system.options.allowsOthers ? 1 : 0),
            hf_fuse_attach(raw, descriptor) == 0
        else { throw HoldfastError(.internalError, "The kernel's side of the file system cannot be reached.") }
        session = Session(raw: raw)
    }

    /// Begins to answer. Threads wait for the vault, so there are more than processors.
    package func start() throws {
        let count = max(6, min(Machine.processorCount * 4, 16))
        for number in 0..<count {
            running.update { $0 += 1 }
            do {
                // Never joined: one may be waiting for a vault far away when the program ends.
                _ = try WorkerThread(name: "mount-\(number)") { [self] in
                    _ = hf_fuse_serve(session.raw)
                    running.update { $0 -= 1 }
                }
            } catch {
                running.update { $0 -= 1 }
                if number == 0 { throw error }
            }
        }
    }

    /// Waits until the file system is unmounted, or time is up; `true` when it is.
    package func hasEnded(within nanoseconds: Int64) -> Bool {
        running.waitUntil({ $0 == 0 }, nanoseconds: nanoseconds)
    }
}

/// One method for each request.
private final class Requests: Sendable {
    private let system: VaultFileSystem

    init(_ system: VaultFileSystem) { self.system = system }

    private static func of(_ context: UnsafeMutableRawPointer) -> Requests {
        Unmanaged<Requests>.fromOpaque(context).takeUnretainedValue()
    }

    static let table = hf_fuse_operations(
        lookup: { Requests.of($0).lookup($1, $2, $3) },
        forget: { Requests.of($0).system.nodes.forget($1, $2) },
        attributes: { Requests.of($0).attributes($1, $2) },
        target: { Requests.of($0).target($1, $2) },
        open: { Requests.of($0).open($1, $2) },
        read: { Requests.of($0).read($1, $2, $3, $4) },
        seek: { Requests.of($0).seek($1, $2, $3, $4 != 0) },
        close: { context, handle in
            Handle<OpenFile>.release(handle)
            Requests.of(context).system.closedFile()
        },
        open_directory: { Requests.of($0).openDirectory($1, $2) },
        list: { Requests.of($0).list($1, $2, $3, $4, withAttributes: $5 != 0) },
        close_directory: { Handle<ListingBox>.release($1) },
        get_attribute: { Requests.of($0).extendedAttribute($1, $2, $3, $4) },
        list_attributes: { Requests.of($0).extendedAttributes($1, $2, $3) }
    )

    /// Runs `body` for a node; an error of it is the reply.
    private func answer(_ request: hf_request, _ number: UInt64, _ body: (Node) throws -> Void) {
        guard let node = system.nodes.node(number) else {
            _ = hf_fuse_reply_error(request, Errno.stale.code)
            return
        }
        do { try body(node) } catch { _ = hf_fuse_reply_error(request, system.number(of: error, node)) }
    }

    // MARK: Names

    private func lookup(_ request: hf_request, _ parent: UInt64, _ name: UnsafePointer<CChar>) {
        answer(request, parent) { node in
            let name = Requests.bytes(name)
            guard name.count <= 255 else { throw Errno.nameTooLong }
            guard let found = try system.find(name, in: node) else {
                // That a point does not have a name stays so.
                guard case .entry = node else { throw Errno.noEntry }
                var nothing = hf_fuse_entry()
                nothing.name_seconds = VaultFileSystem.long
                _ = hf_fuse_reply_entry(request, &nothing)
                return
            }
            var reply = hf_fuse_entry()
            try fill(&reply, found.node, found.entry)
            reply.node = system.nodes.remember(found.node)
            if hf_fuse_reply_entry(request, &reply) != 0 { system.nodes.forget(reply.node, 1) }
        }
    }

    /// All but the number.
    private func fill(_ reply: inout hf_fuse_entry, _ node: Node, _ entry: Entry?) throws {
        let (attributes, seconds) = try system.attributes(of: node, entry)
        reply.attributes = attributes
        reply.attribute_seconds = seconds
        reply.name_seconds = seconds
        if case .link = node { reply.name_seconds = VaultFileSystem.shortly }
    }

    private func attributes(_ request: hf_request, _ number: UInt64) {
        answer(request, number) { node in
            var (attributes, seconds) = try system.attributes(of: node)
            _ = hf_fuse_reply_attributes(request, &attributes, seconds)
        }
    }

    private func target(_ request: hf_request, _ number: UInt64) {
        answer(request, number) { node in
            let target = try system.target(of: node)
            (target.prefix { $0 != 0 } + [0]).withUnsafeBytes { bytes in
                guard let text = bytes.bindMemory(to: CChar.self).baseAddress else { return }
                _ = hf_fuse_reply_target(request, text)
            }
        }
    }

    // MARK: Files

    private func open(_ request: hf_request, _ number: UInt64) {
        answer(request, number) { node in
            let handle = Handle<OpenFile>.retain(try system.openFile(node))
            if hf_fuse_reply_open(request, handle, 1, 0) != 0 {
                Handle<OpenFile>.release(handle)
                system.closedFile()
            }
        }
    }

    /// More pieces than the system takes at once are put together first.
    private static let mostPieces = 1_000
    private static let zeros = Blob(zeros: 1 << 20)

    private func read(_ request: hf_request, _ handle: UInt64, _ offset: UInt64, _ size: Int) {
        let file = Handle<OpenFile>.get(handle)
        do {
            let pieces = try file.read(from: offset, count: size)
            var parts: [iovec] = []
            parts.reserveCapacity(pieces.count)
            for piece in pieces {
                if let blob = piece.blob {
                    parts.append(Requests.part(blob.bytes, piece.start, piece.count))
                } else {
                    var rest = piece.count
                    while rest > 0 {
                        let count = min(rest, Requests.zeros.bytes.count)
                        parts.append(Requests.part(Requests.zeros.bytes, 0, count))
                        rest -= count
                    }
                }
            }
            if parts.isEmpty {
                _ = hf_fuse_reply_bytes(request, nil, 0)
            } else if parts.count <= Requests.mostPieces {
                _ = hf_fuse_reply_pieces(request, parts, Int32(parts.count))
            } else {
                var whole: [UInt8] = []
                whole.reserveCapacity(size)
                for part in parts { whole += UnsafeRawBufferPointer(start: part.iov_base, count: part.iov_len) }
                _ = hf_fuse_reply_bytes(request, whole, whole.count)
            }
            // The blobs have to live until the reply is out.
            withExtendedLifetime(pieces) {}
        } catch {
            _ = hf_fuse_reply_error(request, system.number(of: error, .entry(file.point.place, file.path)))
        }
    }

    private static func part(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ count: Int) -> iovec {
        iovec(iov_base: bytes.baseAddress.map { UnsafeMutableRawPointer(mutating: $0 + start) }, iov_len: count)
    }

    private func seek(_ request: hf_request, _ handle: UInt64, _ offset: UInt64, _ holes: Bool) {
        let file = Handle<OpenFile>.get(handle)
        do {
            guard let found = try file.seek(from: offset, holes: holes) else { throw Errno.noDevice }
            _ = hf_fuse_reply_offset(request, found)
        } catch {
            _ = hf_fuse_reply_error(request, system.number(of: error, .entry(file.point.place, file.path)))
        }
    }

    // MARK: Directories

    /// A listing as one object.
    private final class ListingBox: Sendable {
        let listing: any Listing
        init(_ listing: any Listing) { self.listing = listing }
    }

    private func openDirectory(_ request: hf_request, _ number: UInt64) {
        answer(request, number) { node in
            let listing = try system.openDirectory(node)
            let handle = Handle<ListingBox>.retain(ListingBox(listing))
            // What is in a point can stay in the kernel's memory.
            let isFixed = listing is TreeListing
            if hf_fuse_reply_open(request, handle, isFixed ? 1 : 0, 1) != 0 { Handle<ListingBox>.release(handle) }
        }
    }

    private func list(
        _ request: hf_request, _ handle: UInt64, _ offset: UInt64, _ size: Int, withAttributes: Bool
    ) {
        let listing = Handle<ListingBox>.get(handle).listing
        let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: max(size, 1))
        defer { buffer.deallocate() }
        var used = 0
        var told: [UInt64] = []
        func add(_ name: [UInt8], _ entry: inout hf_fuse_entry, _ next: Int) -> Bool {
            (name + [0]).withUnsafeBytes { bytes in
                guard let text = bytes.bindMemory(to: CChar.self).baseAddress else { return false }
                let needed =
                    withAttributes
                    ? hf_fuse_add_entry(request, buffer + used, size - used, text, &entry, UInt64(next))
                    : hf_fuse_add_name(
                        request, buffer + used, size - used, text, entry.attributes.inode, entry.attributes.mode,
                        UInt64(next))
                guard needed <= size - used else { return false }
                used += needed
                return true
            }
        }
        do {
            var number = Int(clamping: offset)
            let known: [(name: [UInt8], node: Node)] = [([0x2E], listing.own), ([0x2E, 0x2E], listing.above)]
            for (name, node) in known.dropFirst(number) {
                // The kernel knows these two by itself.
                var entry = hf_fuse_entry()
                entry.attributes.inode = NodeTable.number(node)
                entry.attributes.mode = VaultFileSystem.Kind.directory
                guard add(name, &entry, number + 1) else { break }
                number += 1
            }
            if number >= 2 {
                try listing.read(from: number - 2) { item in
                    var entry = hf_fuse_entry()
                    try describe(item, &entry, withAttributes)
                    guard add(item.name, &entry, number + 1) else {
                        if entry.node != 0 { system.nodes.forget(entry.node, 1) }
                        return false
                    }
                    if entry.node != 0 { told.append(entry.node) }
                    number += 1
                    return true
                }
            }
        } catch {
            // What was found before the error is handed out; the next call meets it again.
            if used == 0 {
                _ = hf_fuse_reply_error(request, system.number(of: error, listing.own))
                return
            }
        }
        if hf_fuse_reply_bytes(request, buffer, used) != 0 { for node in told { system.nodes.forget(node, 1) } }
    }

    /// A listed entry for the kernel, and with attributes also a number by which it may ask from now on.
    private func describe(_ item: ListedEntry, _ entry: inout hf_fuse_entry, _ withAttributes: Bool) throws {
        if let tree = item.item {
            let found = try tree.entry()
            try fill(&entry, item.node, found)
            if withAttributes { entry.node = system.nodes.remember(item.node) }
            return
        }
        // Points are not opened for being listed.
        if case .entry = item.node, system.options.allowsOthers {
            entry.attributes.inode = NodeTable.number(item.node)
            entry.attributes.mode = VaultFileSystem.Kind.directory
            return
        }
        if case .machine = item.node {
            // Nor are the lists of a thousand machines asked for.
            entry.attributes.inode = NodeTable.number(item.node)
            entry.attributes.mode = VaultFileSystem.Kind.directory
            return
        }
        try fill(&entry, item.node, nil)
        if withAttributes { entry.node = system.nodes.remember(item.node) }
    }

    // MARK: Extended attributes

    private func extendedAttribute(
        _ request: hf_request, _ number: UInt64, _ name: UnsafePointer<CChar>, _ size: Int
    ) {
        answer(request, number) { node in
            let name = Requests.bytes(name)
            guard let found = try system.extendedAttributes(of: node).first(where: { $0.name == name }) else {
                throw Errno.noData
            }
            try reply(request, found.value, size)
        }
    }

    private func extendedAttributes(_ request: hf_request, _ number: UInt64, _ size: Int) {
        answer(request, number) { node in
            try reply(request, Array(try system.extendedAttributes(of: node).map { $0.name + [0] }.joined()), size)
        }
    }

    /// With size 0 the length is asked for.
    private func reply(_ request: hf_request, _ bytes: [UInt8], _ size: Int) throws {
        if size == 0 {
            _ = hf_fuse_reply_length(request, bytes.count)
        } else if bytes.count > size {
            throw Errno.range
        } else {
            _ = hf_fuse_reply_bytes(request, bytes, bytes.count)
        }
    }

    private static func bytes(_ name: UnsafePointer<CChar>) -> [UInt8] {
        var count = 0
        while name[count] != 0 { count += 1 }
        return Array(UnsafeRawBufferPointer(start: name, count: count))
    }
}

/// An object that the kernel has by a number, from opening to closing.
private enum Handle<Object: AnyObject> {
    static func retain(_ object: Object) -> UInt64 {
        UInt64(UInt(bitPattern: Unmanaged.passRetained(object).toOpaque()))
    }

    private static func reference(_ handle: UInt64) -> Unmanaged<Object> {
        // What `retain` gave out is never null.
        Unmanaged.fromOpaque(UnsafeRawPointer(bitPattern: UInt(handle)).unsafelyUnwrapped)
    }

    static func get(_ handle: UInt64) -> Object { reference(handle).takeUnretainedValue() }
    static func release(_ handle: UInt64) { reference(handle).release() }
}
