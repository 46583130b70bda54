import Model
import Platform

/// What lies below some paths: counted, and a few places in its files drawn at random, by one walk that reads no contents.
package struct TreeSurvey: Sendable {
    /// A place in a file to look at.
    package struct Place: Hashable, Sendable {
        /// Absolute.
        package let path: [UInt8]
        package let size: UInt64
        /// Where the piece begins; 0 in small files.
        package let offset: UInt64
    }

    package private(set) var files: UInt64 = 0
    package private(set) var directories: UInt64 = 0
    /// Sum of the sizes on the disk: what holes leave out costs nothing.
    package private(set) var bytes: UInt64 = 0
    /// Directories that could not be read.
    package private(set) var unreadable: UInt64 = 0
    /// Drawn so that each byte has the same chance; a place may be drawn more than once.
    package var places: [Place] { slots.compactMap(\.place) }

    /// One place that is drawn while the walk goes on. The place stays the one drawn until the sum of sizes reaches
    /// `until`: with W bytes seen, the draw of W' bytes replaces it with probability 1 - W/W'.
    private struct Slot {
        var place: Place?
        var until: Double = 0
    }

    private var slots: [Slot]
    private var nearest: Double = 0
    private var generator: any RandomNumberGenerator & Sendable
    private var hardLinks: Set<CaptureSource.FileNode> = []

    /// - Parameters:
    ///   - samples: how many places are drawn.
    ///   - generator: with a seed in tests.
    package init(samples: Int, generator: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()) {
        slots = [Slot](repeating: Slot(), count: samples)
        self.generator = generator
    }

    /// Walks the source.
    ///
    /// - Parameter visit: called for each directory; throwing ends the walk.
    package mutating func walk(_ source: CaptureSource, _ visit: (TreeSurvey) throws -> Void = { _ in }) throws {
        for root in source.roots {
            let path = [UInt8(ascii: "/")] + root.bytes
            let status: FileStatus
            do {
                status = try FileSystem.status(path)
            } catch {
                unreadable += 1
                continue
            }
            guard status.kind == .directory else {
                add(path, status, source)
                continue
            }
            var pending = [path]
            while let directory = pending.popLast() {
                try visit(self)
                pending += list(directory, source, device: status.device)
            }
        }
    }

    /// Counts the names of a directory and answers the directories in it.
    private mutating func list(_ directory: [UInt8], _ source: CaptureSource, device: UInt64) -> [[UInt8]] {
        var below: [[UInt8]] = []
        do {
            let handle = try DirectoryPath.open(directory)
            if source.excludeCaches, CacheDirectoryTag.isPresent(in: handle.raw) { return [] }
            directories += 1
            let own = try handle.status().device
            var names: [[UInt8]] = []
            var reader = DirectoryReader()
            try reader.forEach(in: handle.raw) { names.append(Array($0.bytes)) }
            for name in names {
                guard let status = try? FileSystem.status(at: handle.raw, name) else { continue }
                let path = directory.count == 1 ? directory + name : directory + [UInt8(ascii: "/")] + name
                let isDirectory = status.kind == .directory
                let isExcluded = path.withUnsafeBytes { buffer in
                    source.exclusions.excludes(
                        UnsafeRawBufferPointer(rebasing: buffer[1...]), nameOffset: path.count - name.count - 1,
                        isDirectory: isDirectory)
                }
                if isExcluded { continue }
                if isDirectory {
                    let node = CaptureSource.FileNode(device: status.device, inode: status.inode)
                    if source.ownDirectories.contains(node) { continue }
                    if source.oneFileSystem, status.device != device { continue }
                    if status.device != own, isKernelFileSystem(path) { continue }
                    below.append(path)
                } else {
                    add(path, status, source)
                }
            }
        } catch {
            unreadable += 1
        }
        return below
    }

    /// Whether the kernel makes up what lies below.
    private func isKernelFileSystem(_ path: [UInt8]) -> Bool {
        guard let opened = try? DirectoryPath.open(path), let space = try? FileSystem.space(descriptor: opened.raw)
        else {
            return false
        }
        return space.isPseudo
    }

    private mutating func add(_ path: [UInt8], _ status: FileStatus, _ source: CaptureSource) {
        guard status.kind == .regular else { return }
        if let limit = source.maximumFileSize, status.size > limit { return }
        files += 1
        if status.links > 1 {
            guard hardLinks.insert(.init(device: status.device, inode: status.inode)).inserted else { return }
        }
        // Files of virtual file systems have no blocks and a size of their own.
        let weight =
            status.blocks == 0 ? 0 : min(status.size, status.blocks.multipliedReportingOverflow(by: 512).partialValue)
        guard weight > 0 else { return }
        bytes += weight
        let total = Double(bytes)
        guard total >= nearest else { return }
        nearest = .infinity
        for index in slots.indices {
            if total >= slots[index].until {
                slots[index].place = Place(path: path, size: status.size, offset: offset(in: status.size))
                slots[index].until = total / Double.random(in: Double.leastNormalMagnitude...1, using: &generator)
            }
            nearest = min(nearest, slots[index].until)
        }
    }

    private mutating func offset(in size: UInt64) -> UInt64 {
        let piece = UInt64(TreeSurvey.pieceLength)
        if size <= piece { return 0 }
        return UInt64.random(in: 0...((size - 1) / piece), using: &generator) * piece
    }

    /// Bytes that are looked at of one place, at most.
    package static let pieceLength = 2 << 20
}
