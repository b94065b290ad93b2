// A TUS server of the @tus/server package over a folder: `node server.mjs NODE_MODULES FOLDER PORT`.
// It prints its port when it listens. Nothing here reads a request's body: a listener for data would swallow bytes.
import http from 'node:http'
import { pathToFileURL } from 'node:url'

const [modules, directory, port, relative] = process.argv.slice(2)
const load = (name) => import(pathToFileURL(`${modules}/${name}/dist/index.js`).href)
const { Server } = await load('@tus/server')
const { FileStore } = await load('@tus/file-store')

const tus = new Server({
  path: '/api/asset/upload/tus',
  datastore: new FileStore({ directory }),
  relativeLocation: relative === 'relative',
})
const server = http.createServer(tus.handle.bind(tus))
server.listen(Number(port), '127.0.0.1', () => console.log(server.address().port))
