import CLinux

/// One extended attribute. POSIX ACLs (`system.posix_acl_access`) and capabilities (`security.capability`) are among
/// them.
package struct FileAttribute: Hashable, Sendable {
    /// The full name with its name space, without a terminator.
    package var name: [UInt8]
    package var value: [UInt8]

    package init(name: [UInt8], value: [UInt8]) {
        self.name = name
        self.value = value
    }
}

/// Reads extended attributes without opening files and without following links; its buffers are used again for each
/// file. A file without attributes costs one system call and no allocation.
package struct AttributeReader: ~Copyable {
    /// An attribute that could not be read, and why.
    package struct Failure: Hashable, Sendable {
        package var name: [UInt8]
        package var error: Errno
    }

    /// Attributes of the last file that could not be read; usually empty. The name `*` stands for all of them: the list
    /// itself could not be had, for example because it is longer than the 64 KiB that Linux hands out.
    package private(set) var failures: [Failure] = []

    private var names = UnsafeMutableRawBufferPointer.allocate(byteCount: 1024, alignment: 1)
    private var value = UnsafeMutableRawBufferPointer.allocate(byteCount: 1024, alignment: 1)

    /// Longer lists and values than this are taken for damage; Linux allows 64 KiB for each.
    private static let limit = 16 << 20

    package init() {}

    deinit {
        names.deallocate()
        value.deallocate()
    }

    /// All attributes of a name, sorted by name; an empty name means `directory` itself, which may be `pathOnly`.
    /// Empty where the file system has none. Throws only when the file itself cannot be reached; what else goes wrong is
    /// in `failures`.
    package mutating func read(at directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) -> [FileAttribute] {
        if !failures.isEmpty { failures = [] }
        let length: Int
        do throws(Errno) {
            length = try list(directory, name)
        } catch {
            if error.isGone || error.isDenied || error == .badDescriptor { throw error }
            failures = [Failure(name: Array("*".utf8), error: error)]
            return []
        }
        if length == 0 { return [] }
        return try values(directory, name, listLength: length)
    }

    /// Fills `names`; returns how many bytes of it count.
    private mutating func list(_ directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) -> Int {
        while true {
            let room = names
            let outcome = hf_listxattr(
                directory, name, room.baseAddress?.assumingMemoryBound(to: CChar.self), room.count)
            if outcome >= 0 { return outcome }
            let error = Errno(code: Int32(-outcome))
            switch error {
            case .interrupted: continue
            case .notSupported: return 0
            case .range where room.count < Self.limit:
                names.deallocate()
                names = .allocate(byteCount: room.count * 8, alignment: 1)
            default: throw error
            }
        }
    }

    private mutating func values(
        _ directory: Int32,
        _ name: UnsafePointer<CChar>,
        listLength: Int
    ) throws(Errno) -> [FileAttribute] {
        var attributes: [FileAttribute] = []
        var position = 0
        while position < listLength {
            let start = names.baseAddress.unsafelyUnwrapped + position
            let count = hf_name_length(start, listLength - position)
            position += count + 1
            // A list without its last terminator is not one.
            if count == 0 || position > listLength { break }
            if Self.repeatsACL(UnsafeRawBufferPointer(start: start, count: count)) { continue }
            let attribute = UnsafePointer(start.assumingMemoryBound(to: CChar.self))
            let nameBytes = [UInt8](UnsafeRawBufferPointer(start: start, count: count))
            do throws(Errno) {
                let size = try get(directory, name, attribute)
                attributes.append(
                    FileAttribute(name: nameBytes, value: [UInt8](UnsafeRawBufferPointer(rebasing: value[..<size]))))
            } catch {
                // Removed since the list was made.
                if error == .noData { continue }
                if error.isGone { throw error }
                failures.append(Failure(name: nameBytes, error: error))
            }
        }
        if attributes.count > 1 { attributes.sort { $0.name.lexicographicallyPrecedes($1.name) } }
        return attributes
    }

    /// XFS shows root its own form of each ACL (`trusted.SGI_ACL_FILE`, `trusted.SGI_ACL_DEFAULT`) beside the one of
    /// all file systems; kept, it would be a stray attribute on any other.
    private static func repeatsACL(_ name: UnsafeRawBufferPointer) -> Bool {
        let common: StaticString = "trusted.SGI_ACL_"
        guard name.count > common.utf8CodeUnitCount else { return false }
        return hf_memory_order(name.baseAddress.unsafelyUnwrapped, common.utf8Start, common.utf8CodeUnitCount) == 0
    }

    /// Fills `value`; returns how many bytes of it count.
    private mutating func get(
        _ directory: Int32,
        _ name: UnsafePointer<CChar>,
        _ attribute: UnsafePointer<CChar>
    ) throws(Errno) -> Int {
        while true {
            let room = value
            do throws(Errno) {
                return try retrying { hf_getxattr(directory, name, attribute, room.baseAddress, room.count) }
            } catch {
                guard error == .range && room.count < Self.limit else { throw error }
                value.deallocate()
                value = .allocate(byteCount: room.count * 8, alignment: 1)
            }
        }
    }
}

extension FileSystem {
    /// The value of an attribute of a name; `nil` when it has none of that name or the file system has none at all.
    package static func attribute(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        _ attribute: UnsafePointer<CChar>
    ) throws(Errno) -> [UInt8]? {
        var room = 256
        while true {
            var failure: Errno?
            let bytes = [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
                do throws(Errno) {
                    count = try retrying { hf_getxattr(directory, name, attribute, buffer.baseAddress, room) }
                } catch { failure = error }
            }
            switch failure {
            case nil: return bytes
            case .noData?, .notSupported?: return nil
            case .range? where room < 1 << 24: room *= 16
            case let error?: throw error
            }
        }
    }

    /// Sets an attribute of a name, the last component never followed; an empty name means `directory` itself.
    package static func setAttribute(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        _ attribute: UnsafePointer<CChar>,
        _ value: UnsafeRawBufferPointer
    ) throws(Errno) {
        try retrying { hf_setxattr(directory, name, attribute, value.baseAddress, value.count) }
    }

    /// As the other `setAttribute`, for an attribute that was read.
    package static func setAttribute(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        _ attribute: FileAttribute
    ) throws(Errno) {
        try withCName(attribute.name) { (attributeName) throws(Errno) -> Void in
            try retrying {
                attribute.value.withUnsafeBytes {
                    hf_setxattr(directory, name, attributeName, $0.baseAddress, $0.count)
                }
            }
        }
    }

    /// Removes an attribute of a name; `noData` when there is none.
    package static func removeAttribute(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        _ attribute: UnsafePointer<CChar>
    ) throws(Errno) {
        try retrying { hf_removexattr(directory, name, attribute) }
    }
}
