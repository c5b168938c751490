'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { debian, glob } = require('../harness/fetch');

const TIMEOUT = 1000;

const JAVA = 'java';

module.exports = {
  title: 'Tomcat',
  timeout: TIMEOUT,

  async fetch(store) {
    const { root } = await debian(store, ['libtomcat10-java']);

    return { jars: [...glob(root, 'usr/share/java/*.jar'), ...glob('/usr/share/java', 'tomcat10-*.jar')] };
  },

  version: ({ jars }) => [JAVA, ['-cp', jars.join(':'), 'org.apache.catalina.util.ServerInfo']],

  command({ fetched: { jars }, port, directory }) {
    const web = path.join(directory, 'web');

    fs.mkdirSync(path.join(directory, 'conf'));
    fs.writeFileSync(path.join(directory, 'conf/server.xml'), `
<Server port="-1">
    <Service name="Catalina">
        <Connector port="${port}" address="127.0.0.1" keepAliveTimeout="${TIMEOUT}"/>
        <Engine name="Catalina" defaultHost="localhost">
            <Host name="localhost" appBase="none">
                <Context path="" docBase="${web}"/>
            </Host>
        </Engine>
    </Service>
</Server>
`);
    fs.cpSync(path.join(__dirname, 'apps/tomcat'), web, { recursive: true });

    return {
      file: JAVA,
      args: ['-cp', jars.join(':'), `-Dcatalina.base=${directory}`, 'org.apache.catalina.startup.Bootstrap', 'start'],
    };
  },
};
