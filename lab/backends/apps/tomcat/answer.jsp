<%@ page session="false" contentType="text/plain" %><% response.setIntHeader("X-Connection", request.getRemotePort()); %>ok
