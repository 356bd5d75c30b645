{{- define "restore-gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{ include "restore-gateway.selector" . }}
{{- end }}

{{- define "restore-gateway.selector" -}}
app.kubernetes.io/name: restore-gateway
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "restore-gateway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* One process for a file, however many for a database. */}}
{{- define "restore-gateway.single" -}}
{{- if or .Values.persistence.enabled (eq .Values.mode "sidecar") }}yes{{ end -}}
{{- end }}
